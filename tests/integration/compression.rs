//! OP_COMPRESSED: each side compresses by what was agreed on there, and only what may be compressed.

use bson::{Document, doc};
use tidegate::sandbox::{self, Options, ReplicaSet};

use crate::support::{
    Proxy,
    client::{batch, number},
    compressed::{COMPRESSORS, SNAPPY, ZLIB, ZSTD, wrap},
    raw::{CHECKSUM_PRESENT, EXHAUST_ALLOWED, MORE_TO_COME, Raw, Reply, body_section, msg, query},
    run_python, shared_proxy, shared_set, start_set,
};

/// A driver's compressor and a proxy for it, whose counters tell of this driver alone.
struct Pair {
    client: Option<&'static str>,
    proxy: Proxy,
}

impl Pair {
    fn start(client: Option<&'static str>, upstream: &str) -> Self {
        let proxy = Proxy::start(upstream, "");
        Self { client, proxy }
    }

    fn uri(&self) -> String {
        let compressors = self.client.map(|by| format!("?compressors={by}"));
        self.proxy.uri() + &compressors.unwrap_or_default()
    }

    /// Whether messages came and went compressed, and took fewer bytes thereby.
    fn check(&self) {
        let total = |of: &str| self.proxy.metric(&format!("tidegate_{of}_total"));
        for kind in ["request", "reply"] {
            let plural = if kind == "request" { "requests" } else { "replies" };
            let count = total(&format!("compressed_{plural}"));
            let bytes = total(&format!("compressed_{kind}_bytes"));
            let inflated = total(&format!("inflated_{kind}_bytes"));
            if self.client.is_none() {
                assert_eq!((count, bytes, inflated), (0.0, 0.0, 0.0), "{kind}");
                continue;
            }
            // The noise cannot be compressed, all else can.
            let noise = f64::from(8 << 20);
            assert!(
                count > 50.0 && inflated > 2.0 * noise,
                "{kind}: {count}, {inflated}"
            );
            assert!(
                bytes > noise && bytes < 1.1 * noise,
                "{kind}: {bytes} of {inflated}"
            );
        }
    }
}

/// The bytes that the node has inflated and compressed so far, by each compressor.
async fn compressed_by(set: &ReplicaSet) -> [[i64; 2]; 3] {
    let status = doc! { "serverStatus": 1, "$db": "admin" };
    let status = sandbox::call(set.address(0), status).await.unwrap();
    let network = status.get_document("network").unwrap();
    let compression = network.get_document("compression").unwrap();
    COMPRESSORS.map(|(_, name)| {
        let of = compression.get_document(name).unwrap();
        ["decompressor", "compressor"].map(|side| number(of.get_document(side).unwrap(), "bytesIn").unwrap())
    })
}

#[tokio::test]
async fn drivers_and_nodes_are_spoken_to_by_different_compressors() {
    // A node of its own: it counts what it compresses, whoever for.
    let set = start_set(Options {
        nodes: 1,
        ..Options::default()
    });
    let all = COMPRESSORS.map(|(_, name)| Some(name));
    let towards_node = [
        (None, &all[..]),
        (Some("snappy"), &[None, Some("zstd")]),
        (Some("zlib&zlibCompressionLevel=1"), &[None, Some("snappy")]),
        (Some("zstd,snappy"), &[None, Some("zlib")]),
    ];
    for (upstream, clients) in towards_node {
        let separator = if set.uri().contains('?') { '&' } else { '?' };
        let options = upstream.map(|by| format!("{separator}compressors={by}"));
        let uri = set.uri() + &options.unwrap_or_default();
        let pairs: Vec<_> = clients.iter().map(|client| Pair::start(*client, &uri)).collect();
        let uris: Vec<_> = pairs.iter().map(Pair::uri).collect();
        let arguments: Vec<_> = ["compressed"]
            .into_iter()
            .chain(uris.iter().map(|uri| &uri[..]))
            .collect();
        let before = compressed_by(&set).await;
        assert_eq!(
            run_python("support/python/compression.py", &arguments),
            pairs.len()
        );
        let after = compressed_by(&set).await;
        for (nth, (_, name)) in COMPRESSORS.into_iter().enumerate() {
            let is_used = upstream.is_some_and(|by| by.starts_with(name));
            for side in [0, 1] {
                // Each driver sends and gets some 16 MiB.
                let grown = after[nth][side] - before[nth][side];
                assert_eq!(grown > 0, is_used, "{upstream:?}: {name}, {side}: {grown}");
            }
        }
        pairs.iter().for_each(Pair::check);
    }
}

/// What `hello` names after each of these offers.
async fn agreed(address: &str, offers: &[Option<&[&str]>]) -> Vec<Option<Vec<String>>> {
    let mut raw = Raw::connect(address).await.unwrap();
    let mut agreed = Vec::new();
    for offer in offers {
        let mut hello = doc! { "hello": 1, "$db": "admin" };
        if let Some(offer) = offer {
            hello.insert("compression", offer.to_vec());
        }
        let reply = raw.command(&hello).await.unwrap();
        assert!(reply.ok(), "{reply:?}");
        let names = reply.body.get_array("compression").ok();
        let names = names.map(|names| {
            names
                .iter()
                .map(|name| name.as_str().unwrap().to_owned())
                .collect()
        });
        agreed.push(names);
    }
    agreed
}

#[tokio::test]
async fn hello_agrees_on_compressors_as_a_mongod_does() {
    let offers: [Option<&[&str]>; 9] = [
        None,
        Some(&["zlib", "snappy"]),
        None,
        Some(&["zstd"]),
        Some(&["lzma", "noop"]),
        None,
        Some(&["nothing", "zstd", "zlib", "snappy"]),
        Some(&[]),
        None,
    ];
    let proxied = agreed(&shared_proxy().address.to_string(), &offers).await;
    assert_eq!(proxied, agreed(shared_set().address(0), &offers).await);
    assert_eq!(
        proxied[6].as_deref(),
        Some(&["zstd", "zlib", "snappy"].map(str::to_owned)[..])
    );

    for offer in [bson::Bson::from("zlib"), bson::bson!([1])] {
        let hello = doc! { "hello": 1, "compression": offer, "$db": "admin" };
        for address in [&shared_proxy().address.to_string(), shared_set().address(0)] {
            let mut raw = Raw::connect(address).await.unwrap();
            assert_eq!(
                raw.command(&hello).await.unwrap().code(),
                14,
                "{address}: {hello}"
            );
        }
    }
}

#[tokio::test]
async fn a_listener_takes_its_compressors_alone_and_names_them_in_its_order() {
    let all: Option<&[&str]> = Some(&["snappy", "zlib", "zstd"]);
    for (listed, named, taken) in [
        ("['zstd', 'zlib']", Some(vec!["zstd", "zlib"]), vec![ZLIB, ZSTD]),
        ("[]", None, vec![]),
    ] {
        let listener = format!("compressors = {listed}");
        let proxy = Proxy::start_with(&shared_set().uri(), "", &listener, "");
        let address = proxy.address.to_string();
        let found = agreed(&address, &[all]).await.remove(0);
        assert_eq!(
            found
                .as_deref()
                .map(|names| names.iter().map(String::as_str).collect()),
            named
        );
        for (compressor, name) in COMPRESSORS {
            let mut raw = Raw::connect(address.as_str()).await.unwrap();
            let reply = raw
                .compressed(compressor, &doc! { "ping": 1, "$db": "admin" })
                .await;
            assert_eq!(
                reply.is_ok(),
                taken.contains(&compressor),
                "{listed}, {name}: {reply:?}"
            );
        }
        if !taken.contains(&SNAPPY) {
            let log = proxy.log();
            assert!(
                log.contains("messages compressed by snappy are not taken here"),
                "{log}"
            );
        }
    }
}

/// What is the same at a node: how the reply came, and what became of the command.
fn summary(reply: &Reply) -> (Option<u8>, i32, u32, bool, i64) {
    (
        reply.compressor,
        reply.op_code,
        reply.flags,
        reply.ok(),
        reply.code(),
    )
}

#[tokio::test]
async fn a_reply_comes_as_its_request_did() {
    let section = |command: Document| [body_section(&command)];
    let find = || doc! { "find": "nothing", "filter": { "calm": "~".repeat(200_000) }, "$db": "compressed" };
    let requests = [
        // Answered here, relayed, failing at the node, failing here; large; with a checksum; by OP_QUERY.
        msg(7, 0, &section(doc! { "ping": 1, "$db": "admin" })),
        msg(7, 0, &section(doc! { "find": "nothing", "$db": "compressed" })),
        msg(7, 0, &section(doc! { "nonsense": 1, "$db": "compressed" })),
        msg(7, 0, &section(doc! { "ping": 1 })),
        msg(7, 0, &section(find())),
        msg(7, CHECKSUM_PRESENT, &section(doc! { "ping": 1, "$db": "admin" })),
        msg(7, CHECKSUM_PRESENT, &section(find())),
        query(7, "admin.$cmd", &doc! { "isMaster": 1 }),
    ];
    let mut proxied = Raw::connect(shared_proxy().address.to_string()).await.unwrap();
    let mut direct = Raw::connect(shared_set().address(0)).await.unwrap();
    for request in &requests {
        for compressor in [None, Some(SNAPPY), None, Some(ZLIB), Some(ZSTD)] {
            let bytes = compressor.map_or_else(|| request.clone(), |by| wrap(by, request));
            proxied.send(&bytes).await.unwrap();
            direct.send(&bytes).await.unwrap();
            let reply = proxied.reply_to(7).await.unwrap();
            let expected = direct.reply_to(7).await.unwrap();
            let is_handshake = reply.body.contains_key("maxWireVersion");
            assert_eq!(expected.compressor, compressor);
            let expected = Reply {
                // A node would compress this as well; the specification of OP_COMPRESSED forbids it.
                compressor: expected.compressor.filter(|_| !is_handshake),
                ..expected
            };
            assert_eq!(summary(&reply), summary(&expected), "{reply:?}");
        }
    }
}

#[tokio::test]
async fn a_compressed_write_that_wants_no_reply_gets_none_and_is_done() {
    let mut raw = Raw::connect(shared_proxy().address.to_string()).await.unwrap();
    let drop = doc! { "drop": "silent", "$db": "compressed" };
    raw.command(&drop).await.unwrap();
    for (compressor, _) in COMPRESSORS {
        let insert = doc! {
            "insert": "silent", "documents": [{ "_id": i32::from(compressor) }], "writeConcern": { "w": 0 }, "$db": "compressed",
        };
        let message = msg(9, MORE_TO_COME, &[body_section(&insert)]);
        raw.send(&wrap(compressor, &message)).await.unwrap();
        let count =
            doc! { "count": "silent", "query": { "_id": i32::from(compressor) }, "$db": "compressed" };
        // The reply to this is the next that comes.
        let reply = raw.compressed(compressor, &count).await.unwrap();
        assert_eq!(number(&reply.body, "n"), Some(1), "{reply:?}");
    }
}

#[tokio::test]
async fn every_reply_of_a_chain_is_compressed_as_its_request_was() {
    let separator = if shared_set().uri().contains('?') {
        '&'
    } else {
        '?'
    };
    let uri = format!("{}{separator}compressors=zlib", shared_set().uri());
    let proxy = Proxy::start(&uri, "");
    let mut raw = Raw::connect(proxy.address.to_string()).await.unwrap();
    raw.command(&doc! { "drop": "chained", "$db": "compressed" })
        .await
        .unwrap();
    let documents: Vec<_> = (0..100)
        .map(|id| doc! { "_id": id, "text": "tide ".repeat(5000) })
        .collect();
    let insert = doc! { "insert": "chained", "documents": documents, "$db": "compressed" };
    assert!(raw.compressed(ZSTD, &insert).await.unwrap().ok());
    for compressor in [None, Some(ZSTD)] {
        let find = doc! { "find": "chained", "batchSize": 0, "$db": "compressed" };
        let (_, cursor) = batch(&raw.command(&find).await.unwrap().body);
        // Batches of 250 kB each: compressed, inflated and compressed again off the core.
        let more = doc! { "getMore": cursor, "collection": "chained", "batchSize": 10, "$db": "compressed" };
        let more = msg(7, EXHAUST_ALLOWED, &[body_section(&more)]);
        let more = compressor.map_or_else(|| more.clone(), |by| wrap(by, &more));
        raw.send(&more).await.unwrap();
        let (mut previous, mut count) = (7, 0);
        loop {
            let reply = raw.reply_to(previous).await.unwrap();
            assert_eq!(reply.compressor, compressor);
            count += batch(&reply.body).0.len();
            if reply.flags & MORE_TO_COME == 0 {
                break;
            }
            previous = reply.request_id;
        }
        assert_eq!(count, 100);
    }
}
