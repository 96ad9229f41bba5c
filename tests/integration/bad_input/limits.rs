//! Clients that say nothing, too little, too slowly, or are too many.

use std::{
    io,
    time::{Duration, Instant},
};

use bson::doc;

use super::{abuse, greeted, logged, ping, proxy};
use crate::support::{
    Proxy,
    raw::{OP_MSG, Raw, body_section, frame, msg},
};

const LARGEST: usize = 48_000_000;
/// What 400 clients and their unfinished messages may cost the proxy: 160 KiB each, where they announced 48 MB.
const MEMORY: u64 = 64 << 20;

#[test]
fn a_client_that_says_nothing_is_closed_when_its_first_message_is_due() {
    let proxy = proxy("[limits]\nhandshake_timeout = \"1s\"\n");
    abuse(&proxy, async {
        let mut raw = Raw::connect(proxy.address.to_string()).await.unwrap();
        let started = Instant::now();
        assert_eq!(raw.receive().await.unwrap(), None);
        assert!(started.elapsed() > Duration::from_millis(900), "too early");
        logged(&proxy, raw.local(), "no whole message within 1s").await;
    });
}

#[test]
fn a_first_message_may_drip_but_not_beyond_its_time() {
    let proxy = proxy("[limits]\nhandshake_timeout = \"3s\"\n");
    abuse(&proxy, async {
        let mut raw = Raw::connect(proxy.address.to_string()).await.unwrap();
        drip(
            &mut raw,
            &msg(5, 0, &[body_section(&ping())]),
            Duration::from_millis(10),
        )
        .await
        .unwrap();
        assert!(raw.reply_to(5).await.unwrap().ok());

        let mut raw = Raw::connect(proxy.address.to_string()).await.unwrap();
        let local = raw.local();
        let started = Instant::now();
        // Each phase begins just within its own time: the first byte, the header, the body.
        tokio::time::sleep(Duration::from_secs(2)).await;
        let endless = [
            &1_000_000i32.to_le_bytes()[..],
            &[0; 8],
            &OP_MSG.to_le_bytes(),
            &[0; 100],
        ]
        .concat();
        let ended = drip(&mut raw, &endless, Duration::from_millis(120)).await;
        assert!(ended.is_err() || raw.receive().await.is_ok_and(|reply| reply.is_none()));
        assert!(
            started.elapsed() < Duration::from_millis(4500),
            "{:?}",
            started.elapsed()
        );
        logged(&proxy, local, "no whole message within 3s").await;
    });
}

async fn drip(raw: &mut Raw, bytes: &[u8], pause: Duration) -> io::Result<()> {
    for byte in bytes {
        raw.send(std::slice::from_ref(byte)).await?;
        tokio::time::sleep(pause).await;
    }
    Ok(())
}

#[test]
fn an_idle_client_is_closed_and_a_busy_one_is_not() {
    let proxy = proxy("[limits]\nidle_timeout = \"1s\"\n");
    abuse(&proxy, async {
        let address = proxy.address.to_string();
        let (mut idle, mut busy) = (greeted(&address).await, greeted(&address).await);
        let until = Instant::now() + Duration::from_secs(3);
        while Instant::now() < until {
            assert!(busy.command(&ping()).await.unwrap().ok());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        assert_eq!(idle.receive().await.unwrap(), None);
        logged(&proxy, idle.local(), "no message for 1s").await;
    });
}

#[test]
fn announced_bytes_take_neither_memory_nor_room_from_others() {
    let proxy = proxy("");
    abuse(&proxy, async {
        let address = proxy.address.to_string();
        assert!(greeted(&address).await.command(&ping()).await.unwrap().ok());
        let before = resident(&proxy);
        let announcement = {
            let mut start = frame(7, OP_MSG, &[0; 1000]);
            start[..4].copy_from_slice(&(LARGEST as i32).to_le_bytes());
            start
        };
        let mut clients = Vec::new();
        for _ in 0..200 {
            for mut raw in [
                greeted(&address).await,
                Raw::connect(address.as_str()).await.unwrap(),
            ] {
                raw.send(&announcement).await.unwrap();
                clients.push(raw);
            }
        }
        // The proxy has read what there is once it has answered someone who came later.
        for _ in 0..10 {
            let mut late = greeted(&address).await;
            let large = doc! {"find": "c", "filter": {"a": "x".repeat(1 << 20)}, "$db": "bad"};
            assert!(late.command(&large).await.unwrap().ok());
        }
        let grown = resident(&proxy).saturating_sub(before);
        assert!(
            grown < MEMORY,
            "{grown} bytes for {} announcements",
            clients.len()
        );
        assert_eq!(
            proxy.status()["clients"]["connected"].as_u64().map(|n| n >= 400),
            Some(true)
        );
    });
}

/// Bytes of the proxy's memory that are in use (`VmRSS`).
fn resident(proxy: &Proxy) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", proxy.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() << 10
}

#[test]
fn too_many_clients_are_refused_and_a_place_that_is_given_up_is_free() {
    for (limit, why) in [
        ("max_clients = 4", "[limits] max_clients"),
        ("max_clients_per_address = 4", "[limits] max_clients_per_address"),
    ] {
        let proxy = proxy(&format!("[limits]\n{limit}\n"));
        // One place is taken by the client that is watched.
        abuse(&proxy, async {
            let address = proxy.address.to_string();
            let mut admitted = Vec::new();
            let mut refused = None;
            while refused.is_none() {
                let mut raw = Raw::connect(address.as_str()).await.unwrap();
                match raw.command(&ping()).await {
                    Ok(reply) => assert!(reply.ok()),
                    Err(_) => refused = Some(raw.local()),
                }
                admitted.push(raw);
                assert!(admitted.len() <= 4, "nobody was refused");
            }
            logged(&proxy, refused.unwrap(), why).await;
            assert!(proxy.status()["clients"]["refused"].as_u64() >= Some(1));
            admitted.clear();
            let deadline = Instant::now() + Duration::from_secs(10);
            while proxy.status()["clients"]["connected"] != 1 {
                assert!(Instant::now() < deadline, "places are not given up");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            assert!(greeted(&address).await.command(&ping()).await.unwrap().ok());
        });
    }
}
