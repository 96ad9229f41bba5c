//! The resolver by answers right and wrong.

use proptest::prelude::*;
use simple_dns::{
    ResourceRecord,
    rdata::{A, SRV, TXT},
};

use super::*;

const NAME: &str = "_mongodb._tcp.a.b.c";

fn reply(id: u16, name: &str, code: RCODE, records: Vec<RData<'static>>) -> Vec<u8> {
    let mut packet = Packet::new_reply(id);
    *packet.rcode_mut() = code;
    let name = Name::new(name).unwrap().into_owned();
    packet.questions.push(Question::new(
        name.clone(),
        QTYPE::TYPE(TYPE::SRV),
        CLASS::IN.into(),
        false,
    ));
    let records = records.into_iter();
    packet.answers = records
        .map(|data| ResourceRecord::new(name.clone(), CLASS::IN, 300, data))
        .collect();
    packet.build_bytes_vec().unwrap()
}

fn ports(answer: &[u8]) -> Result<Vec<u16>, Unusable> {
    read_answer(answer, 7, NAME, TYPE::SRV, |_, data| match data {
        RData::SRV(srv) => Some(srv.port),
        _ => None,
    })
}

#[test]
fn records_of_the_wanted_kind_are_read() {
    let srv = |port| {
        RData::SRV(SRV {
            priority: 0,
            weight: 0,
            port,
            target: Name::new_unchecked("n.b.c"),
        })
    };
    let other = RData::A(A { address: 1 });
    let answer = reply(
        7,
        "_MongoDB._tcp.A.b.c",
        RCODE::NoError,
        vec![srv(1), other, srv(2)],
    );
    assert_eq!(ports(&answer), Ok(vec![1, 2]));
}

#[test]
fn what_is_no_answer_is_told_apart() {
    let because = |answer: &[u8]| match ports(answer) {
        Err(Unusable::Because(what)) => what,
        other => panic!("{other:?}"),
    };
    let ok = RCODE::NoError;
    assert_eq!(
        ports(&reply(7, NAME, RCODE::NameError, vec![])),
        Err(Unusable::NoSuchName)
    );
    assert_eq!(ports(&reply(7, NAME, ok, vec![])), Ok(vec![]));
    assert!(because(&reply(8, NAME, ok, vec![])).contains("another question"));
    assert!(because(&reply(7, "x.b.c", ok, vec![])).contains("another question"));
    assert!(because(&query(7, NAME, TYPE::SRV).unwrap()).contains("another question"));
    assert!(because(&reply(7, NAME, RCODE::ServerFailure, vec![])).contains("SERVFAIL"));
    assert!(because(&reply(7, NAME, RCODE::Refused, vec![])).contains("refused"));
    assert!(because(&[1, 2, 3]).contains("nonsense"));
}

#[tokio::test]
async fn addresses_do_not_wait_for_a_kind_that_is_never_answered() {
    let server = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let resolver = Resolver::new(Some(server.local_addr().unwrap()));
    let answering = async {
        let mut question = [0; UDP_ANSWER];
        loop {
            let (length, asker) = server.recv_from(&mut question).await.unwrap();
            let packet = Packet::parse(&question[..length]).unwrap();
            if packet.questions[0].qtype != QTYPE::TYPE(TYPE::A) {
                continue;
            }
            let mut answer = Packet::new_reply(packet.id());
            let asked = packet.questions[0].clone();
            let data = RData::A(A { address: 0x7f00_0001 });
            answer.answers = vec![ResourceRecord::new(asked.qname.clone(), CLASS::IN, 300, data)];
            answer.questions.push(asked);
            let answer = answer.build_bytes_vec().unwrap();
            server.send_to(&answer, asker).await.unwrap();
        }
    };
    let found = tokio::select! {
        () = answering => unreachable!("it answers for ever"),
        found = timeout(LIMIT, resolver.addresses("n.b.c")) => found,
    };
    assert_eq!(found.unwrap().unwrap(), [IpAddr::V4(Ipv4Addr::LOCALHOST)]);
}

#[test]
fn the_strings_of_a_txt_record_are_one_text() {
    let txt = ["replicaS", "et=rep", "l0"]
        .into_iter()
        .fold(TXT::new(), |txt, part| txt.with_string(part).unwrap());
    assert_eq!(String::try_from(txt).unwrap(), "replicaSet=repl0");
}

#[test]
fn the_systems_name_servers_are_read_whatever_else_stands_there() {
    let text =
        b"# x\nsearch a b\nnonsense 1\nnameserver 10.0.0.2\nnameserver ::1\noptions ndots:5 edns0 trust-ad\n";
    let servers: Vec<_> = system_servers(text).iter().map(ToString::to_string).collect();
    assert_eq!(servers, ["10.0.0.2:53", "[::1]:53"]);
    assert!(system_servers(b"").is_empty());
}

#[test]
fn what_cannot_be_a_name_is_refused() {
    let label = "a".repeat(64);
    for name in [format!("{label}.b.c"), vec!["a".repeat(60); 5].join(".")] {
        let error = query(1, &name, TYPE::SRV).unwrap_err();
        assert!(error.is_final(), "{error}");
    }
}

proptest! {
    #[test]
    fn no_answer_makes_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = ports(&bytes);
    }

    #[test]
    fn no_damaged_answer_makes_it_panic(at in 0..200usize, byte: u8, cut in 0..200usize) {
        let srv = SRV { priority: 0, weight: 0, port: 1, target: Name::new_unchecked("n.b.c") };
        let mut answer = reply(7, NAME, RCODE::NoError, vec![RData::SRV(srv), RData::A(A { address: 1 })]);
        let length = answer.len();
        answer[at % length] = byte;
        answer.truncate(length - cut % length);
        let _ = ports(&answer);
    }
}
