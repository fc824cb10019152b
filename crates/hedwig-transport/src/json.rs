use http::{HeaderValue, Response, StatusCode, header};
use serde::Serialize;

use crate::{Body, full, problem};

/// An answer with a JSON body; a problem (500) when the value has no JSON form.
pub fn json(status: StatusCode, value: &impl Serialize) -> Response<Body> {
    let bytes = match serde_json::to_vec(value) {
        Ok(bytes) => bytes,
        Err(error) => {
            tracing::error!(%error, "an answer cannot be written as JSON");
            let detail = "The answer cannot be written.";
            return problem(StatusCode::INTERNAL_SERVER_ERROR, "Internal Server Error", detail);
        }
    };
    let mut response = Response::new(full(bytes));
    *response.status_mut() = status;
    let kind = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}
