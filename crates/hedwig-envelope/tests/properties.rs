//! What holds for every value, not only for those that somebody thought of.

use hedwig_envelope::{Address, DeliverBy, Envelope, MailId, Notify, Status, header, xtext};
use proptest::prelude::*;

/// Local parts that need quotes and such that do not, domains and literals.
fn address() -> impl Strategy<Value = String> {
    let local = prop_oneof![
        "[a-z!#$%&'*+=?^_`{|}~-]{1,12}(\\.[a-z0-9]{1,5}){0,2}",
        "\"([ !#-\\[\\]-~]|\\\\[ -~]){0,16}\""
    ];
    let domain = prop_oneof![
        "[A-Za-z0-9]{1,10}(\\.[a-z0-9]{1,10}){0,3}",
        Just("[192.0.2.1]".to_owned()),
        Just("[IPv6:2001:db8::1]".to_owned()),
        Just("例子.example".to_owned()),
    ];
    (local, domain).prop_map(|(local, domain)| format!("{local}@{domain}"))
}

proptest! {
    #[test]
    fn an_address_is_read_from_what_it_is_written_as(text in address()) {
        let parsed: Address = text.parse().unwrap();
        prop_assert_eq!(&parsed.as_str().parse::<Address>().unwrap(), &parsed);
        let json = serde_json::to_string(&parsed).unwrap();
        prop_assert_eq!(serde_json::from_str::<Address>(&json).unwrap(), parsed);
    }

    #[test]
    fn no_address_can_end_a_command_or_a_path(text in any::<String>()) {
        if let Ok(address) = text.parse::<Address>() {
            prop_assert!(!address.as_str().contains(char::is_control));
            let unquoted = !address.as_str().starts_with('"');
            prop_assert!(!(unquoted && address.as_str().contains(['<', '>', ' '])));
        }
    }

    #[test]
    fn xtext_gives_back_what_it_was_given(text in "\\PC*") {
        prop_assert_eq!(xtext::decode(&xtext::encode(&text)), Some(text));
    }

    #[test]
    fn whatever_xtext_decodes_to_has_no_control_characters(text in any::<String>()) {
        if let Some(decoded) = xtext::decode(&text) {
            prop_assert!(!decoded.contains(char::is_control));
        }
    }

    #[test]
    fn parameters_are_read_from_what_they_are_written_as(
        seconds in -999_999_999..=999_999_999_i32,
        notify in any::<(bool, bool, bool)>(),
        status in (prop_oneof![Just(2), Just(4), Just(5)], 0..1000_u16, 0..1000_u16),
    ) {
        let by: DeliverBy = format!("{seconds};NT").parse().unwrap();
        prop_assert_eq!(by.to_string().parse::<DeliverBy>().unwrap(), by);
        let notify = Notify { success: notify.0, failure: notify.1, delay: notify.2 };
        prop_assert_eq!(notify.to_string().parse::<Notify>().unwrap(), notify);
        let text = format!("{}.{}.{}", status.0, status.1, status.2);
        prop_assert_eq!(text.parse::<Status>().unwrap().to_string(), text);
    }

    #[test]
    fn any_bytes_have_a_header_that_ends_within_them(bytes in any::<Vec<u8>>()) {
        prop_assert!(header::header_length(&bytes) <= bytes.len());
        let total: usize = header::fields(&bytes).map(|field| field.value.len()).sum();
        prop_assert!(total <= bytes.len());
    }

    #[test]
    fn ids_come_back_from_text_in_any_case(bytes in any::<[u8; 16]>()) {
        let id = MailId::from_bytes(bytes);
        prop_assert_eq!(id.to_string().parse::<MailId>().unwrap(), id);
        prop_assert_eq!(id.to_string().to_uppercase().parse::<MailId>().unwrap(), id);
    }

    #[test]
    fn an_envelope_comes_back_from_storage(sender in address(), recipients in prop::collection::vec(address(), 1..5)) {
        let recipients = recipients.iter().map(|text| text.parse::<Address>().unwrap());
        let envelope = Envelope::new(sender.parse::<Address>().unwrap(), recipients);
        let json = serde_json::to_string(&envelope).unwrap();
        prop_assert_eq!(serde_json::from_str::<Envelope>(&json).unwrap(), envelope);
    }
}
