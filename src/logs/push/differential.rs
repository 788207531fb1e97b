//! The reader of the bytes and prost's messages take, refuse and give the same.

use super::*;
use crate::ingest::wire_cases::{Kind, Schema, run};
use crate::logs::reference::{shown, shown_rows};
use prost::Message as _;

/// `PushRequest`, `Stream`, `PushedEntry`, `Timestamp` and `LabelPair`.
fn schema() -> Schema {
    vec![
        vec![(1, Kind::Message(1))],
        vec![
            (1, Kind::Texts(&["{}", "{a=\"1\"}", "{app=\"x\", b=`y`}", "{a=\"1\",a=\"2\"}", "{", "{level=\"warn\"}"])),
            (2, Kind::Message(2)),
        ],
        vec![(1, Kind::Message(3)), (2, Kind::Text), (3, Kind::Message(4))],
        vec![(1, Kind::Varint), (2, Kind::Varint)],
        vec![(1, Kind::Text), (2, Kind::Text)],
    ]
}

#[test]
fn bytes_and_messages_agree() {
    let (config, known) = (Config::default(), KnownGroups::default());
    let (mut taken, mut stored) = (0, 0);
    run(include_str!("corpus.txt"), &schema(), |body| {
        let ours = translate_plain(body.into(), &config, &known).ok();
        let theirs = reference::PushRequest::decode(body).ok().and_then(|request| reference::translate(request, &config));
        let hex = || body.iter().map(|b| format!("{b:02x}")).collect::<String>();
        assert_eq!(ours.as_ref().map(|o| shown_rows(&o.0)), theirs.as_ref().map(|t| shown(&t.0)), "{}", hex());
        assert_eq!(ours.as_ref().map(|o| &o.1), theirs.as_ref().map(|t| &t.1), "{}", hex());
        taken += usize::from(ours.is_some());
        stored += usize::from(ours.is_some_and(|o| !o.0.streams().is_empty()));
    });
    assert!(taken > 100 && stored > 10, "{taken} {stored}: cases reach nothing");
}
