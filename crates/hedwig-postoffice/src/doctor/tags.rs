//! Records that are lists of tags: `v=DMARC1; p=none` (RFC 6376 §3.2 and those who took it over).

/// The tags of a record, in their order, names in lower case.
pub(super) struct Tags(Vec<(String, String)>);

impl Tags {
    pub(super) fn of(text: &str) -> Self {
        let tags = text.split(';').filter_map(|tag| tag.split_once('='));
        Self(
            tags.map(|(name, value)| (name.trim().to_ascii_lowercase(), value.trim().to_owned()))
                .collect(),
        )
    }

    /// The value of the first tag of this name.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(tag, _)| tag == name).map(|(_, value)| value.as_str())
    }

    /// Whether this tag is the first and says this (a version does).
    pub(super) fn begin_with(&self, name: &str, value: &str) -> bool {
        self.0.first().is_some_and(|(tag, said)| tag == name && said == value)
    }
}

/// Those of some texts that begin with this version.
pub(super) fn of_version<'a>(texts: &'a [String], version: &str) -> Vec<&'a str> {
    let texts = texts.iter().map(String::as_str);
    texts.filter(|text| Tags::of(text).begin_with("v", version)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_read_with_any_white_space() {
        let tags = Tags::of(" v = DMARC1 ;p=none;; RUA=mailto:a@b.example?x=y; novalue;");
        assert!(tags.begin_with("v", "DMARC1") && !tags.begin_with("v", "dmarc1"));
        assert_eq!(
            (tags.get("p"), tags.get("rua")),
            (Some("none"), Some("mailto:a@b.example?x=y"))
        );
        assert_eq!(tags.get("novalue"), None);
        let texts = ["v=DMARC1; p=none".to_owned(), "p=none; v=DMARC1".to_owned(), String::new()];
        assert_eq!(of_version(&texts, "DMARC1"), [&texts[0]]);
    }
}
