//! The side that takes mail: [`messages`] is the service behind `/v1/messages`, [`Router`] puts others
//! beside it, and [`serve`] answers HTTP/1.1 and HTTP/2 with the whole.

mod access;
mod answer;
mod connection;
mod impatient;
mod keys;
mod listener;
mod messages;
mod receive;
mod request_line;
mod router;
mod serve;
mod submission;

pub use connection::ConnectionInfo;
pub use listener::Listener;
pub use messages::{Messages, MessagesOptions, TrackerService, messages};
pub use router::Router;
pub use serve::{HttpService, Serve, ServerOptions, serve};
