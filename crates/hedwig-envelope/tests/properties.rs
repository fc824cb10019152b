//! What holds for every value, not only for those that somebody thought of.
#![allow(clippy::unwrap_used, reason = "these are tests")]

use std::{
    fmt::{Debug, Display},
    net::Ipv6Addr,
    str::FromStr,
};

use hedwig_envelope::{
    Address, DeliverBy, Envelope, IdempotencyKey, MailId, Notify, OriginalRecipient, Priority,
    ReversePath, Status, header, xtext,
};
use proptest::prelude::*;
use serde::{Serialize, de::DeserializeOwned};

/// Local parts that need quotes and such that do not, domains and literals.
fn address() -> impl Strategy<Value = String> {
    let local = prop_oneof![
        "[a-z!#$%&'*+=?^_`{|}~-]{1,12}(\\.[a-z0-9]{1,5}){0,2}",
        "\"([ !#-\\[\\]-~]|\\\\[ -~]){0,16}\""
    ];
    let domain = prop_oneof![
        "[A-Za-z0-9]{1,10}(\\.[a-z0-9]{1,10}){0,3}",
        Just("[192.0.2.1]".to_owned()),
        ipv6_literal(),
        Just("例子.example".to_owned()),
    ];
    (local, domain).prop_map(|(local, domain)| format!("{local}@{domain}"))
}

/// IPv6 addresses of all kinds, among them such as are written with dots, in full and as short as can be.
fn ipv6_literal() -> impl Strategy<Value = String> {
    let groups = prop_oneof![
        1 => any::<[u16; 8]>(),
        1 => any::<[bool; 8]>().prop_map(|ones| ones.map(u16::from)),
        3 => any::<[u16; 2]>().prop_map(|[a, b]| [0, 0, 0, 0, 0, 0xffff, a, b]),
        1 => any::<[u16; 2]>().prop_map(|[a, b]| [0, 0, 0, 0, 0, 0, a, b]),
    ];
    (groups, 0..3).prop_map(|(groups, spelling)| match (spelling, groups) {
        (0, [0, 0, 0, 0, 0, a, b, c]) => format!("[ipv6:::{a:x}:{b:x}:{c:x}]"),
        (0 | 1, _) => format!("[IPv6:{}]", groups.map(|group| format!("{group:X}")).join(":")),
        _ => format!("[IPv6:{}]", Ipv6Addr::from(groups)),
    })
}

/// Addresses that are about as long as any may be.
fn long_address() -> impl Strategy<Value = String> {
    let domain = prop_oneof![3 => ipv6_literal(), 1 => "[A-Za-z0-9]{1,10}(\\.[a-z0-9]{1,10}){0,3}"];
    let pieces = ("\"?", "[a-z\\\\\"ü]?", domain, 500..516_usize);
    pieces.prop_map(|(quote, oddity, domain, length)| {
        let rest = 1 + domain.len() + 2 * quote.len() + oddity.len();
        format!("{quote}{oddity}{}{quote}@{domain}", "a".repeat(length - rest))
    })
}

/// What is stored, and read back when it is needed, must not be refused then.
fn is_read_back<T>(text: &str) -> Result<(), TestCaseError>
where
    T: FromStr<Err: Debug> + Display + Debug + PartialEq + Serialize + DeserializeOwned,
{
    if let Ok(parsed) = text.parse::<T>() {
        prop_assert_eq!(&parsed.to_string().parse::<T>().unwrap(), &parsed);
        let json = serde_json::to_string(&parsed).unwrap();
        prop_assert_eq!(serde_json::from_str::<T>(&json).unwrap(), parsed);
    }
    Ok(())
}

proptest! {
    #[test]
    fn an_address_is_read_from_what_it_is_written_as(short in address(), long in long_address()) {
        prop_assert!(short.parse::<Address>().is_ok());
        for text in [short, long] {
            is_read_back::<Address>(&text)?;
            is_read_back::<ReversePath>(&text)?;
        }
    }

    #[test]
    fn what_is_taken_is_read_from_what_it_is_written_as(
        text in "\\PC{0,40}",
        original in "[a-z-]{1,8};([!-~ü]|\\+[0-9A-Fa-f]{2}){1,200}",
        key in "[!-~]{240,260}",
        number in "[+-]?[0-9]{1,10}(;[RNrn]T?)?",
        id in "[0-9A-Za-z]{26}",
    ) {
        for text in [&text, &original, &key, &number, &id] {
            is_read_back::<Address>(text)?;
            is_read_back::<ReversePath>(text)?;
            is_read_back::<OriginalRecipient>(text)?;
            is_read_back::<IdempotencyKey>(text)?;
            is_read_back::<Priority>(text)?;
            is_read_back::<DeliverBy>(text)?;
            is_read_back::<MailId>(text)?;
        }
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
