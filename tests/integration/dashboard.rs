//! The dashboard in a real browser: through an election, a restart, behind a token, and with names that clients have chosen.

use std::{fs, net::SocketAddr, thread};

use bson::{Document, doc};

use super::topology::{proxy, restless_set, with_heartbeat};
use crate::support::{Browser, Client, Proxy, http_get_with, shared_set};

const TOKEN: &str = "the-token-of-the-operator";
/// The address of the primary, once the header and the table of nodes name the same one.
const PRIMARY: &str = "(() => { const shown = document.getElementById('primary')?.textContent ?? '', row = document.querySelector('#nodes .pill.good'); \
                       return shown.includes(':') && row?.closest('tr').cells[0].textContent === shown && shown; })()";
/// What tells whether the page was loaded anew.
const MARK: &str = "window.wasHere = true";
/// Whether something in the page goes beyond its width.
const FITS: &str = "document.documentElement.scrollWidth <= document.documentElement.clientWidth";

fn url(proxy: &Proxy) -> String {
    format!("http://{}/", proxy.admin)
}

/// Nothing was asked for but the page and its stream, each by an address that tells nothing.
fn assert_alone(requests: &[String], url: &str) {
    let events = format!("{url}events");
    let is_fine = |asked: &String| *asked == url || *asked == events || asked.starts_with("data:");
    assert!(
        requests.iter().all(is_fine) && requests.contains(&events),
        "{requests:?}"
    );
}

#[tokio::test]
async fn an_election_is_shown_without_the_page_being_loaded_again_and_a_restart_of_the_proxy_is_survived() {
    let set = restless_set().await;
    let proxy = proxy(&set.uri(), "");
    let mut client = Client::connect(proxy.address).await;
    client.succeed("live", doc! { "find": "tides" }).await;
    let url = url(&proxy);
    let mut browser = Browser::open(&url);
    let first = browser.until(PRIMARY).await;
    let first = first.as_str().unwrap();
    assert!(set.uri().contains(first), "{first}");
    browser.until(MARK).await;
    // When it was elected is not known to a proxy that came later.
    browser.until_says("since", "or before").await;
    set.step_down().await.unwrap();
    let second = browser
        .until(&format!("({PRIMARY}) !== '{first}' && ({PRIMARY})"))
        .await;
    let second = second.as_str().unwrap();
    assert!(set.uri().contains(second), "{first}, {second}");
    let told = format!("{second} is the primary");
    browser
        .until(&format!("[...document.querySelectorAll('#events li')].some((li) => li.textContent.includes('election') && li.textContent.includes('{told}'))"))
        .await;
    browser
        .until("!document.getElementById('since').textContent.includes('before') && window.wasHere")
        .await;
    browser.until(FITS).await;
    assert_eq!(proxy.post("/pause").0, 200);
    browser.until_says("notice", "closed by hand").await;
    assert_eq!(proxy.post("/resume").0, 200);
    browser.until("document.getElementById('notice').hidden").await;
    // A clock that is an hour fast, as browsers have them, does not make the primary an hour older.
    browser
        .until("Date.now = ((now) => () => now() + 3_600_000)(Date.now)")
        .await;
    browser
        .until("skew < -3_000_000 && / for (\\d+ min )?\\d+ s$/.test(document.getElementById('since').textContent)")
        .await;
    browser.until_says("link", "Live").await;
    let (errors, requests) = browser.report().await;
    assert!(errors.is_empty(), "{errors:?}");
    assert_alone(&requests, &url);

    let (address, admin) = (proxy.address, proxy.admin);
    drop(client);
    assert!(proxy.stop().0.success());
    browser.until_says("lost", "lost at").await;
    browser.until_says("link", "Lost").await;
    let proxy = Proxy::start_at(&with_heartbeat(&set.uri(), ""), address, admin);
    browser.until_says("link", "Live").await;
    browser
        .until(&format!("!window.wasHere && ({PRIMARY}) === '{second}'"))
        .await;
    browser.until("document.getElementById('lost').hidden").await;
    browser.close().await;
    drop(proxy);
}

/// Whoever calls itself so has its commands counted under that name.
async fn command_as(address: SocketAddr, application: &str, command: Document) {
    let mut client = Client::connect(address).await;
    let hello = doc! {
        "hello": 1,
        "client": { "application": { "name": application }, "driver": { "name": "d", "version": "1" }, "os": { "type": "x" } },
    };
    client.succeed("admin", hello).await;
    client.succeed("shop", command).await;
}

#[tokio::test]
async fn a_token_is_asked_for_and_kept_secret_and_names_that_clients_choose_are_text() {
    let folder = tempfile::tempdir().unwrap();
    let audit = folder.path().join("audit");
    // The section of the admin endpoint is open where these stand.
    let sections =
        format!("token = {TOKEN:?}\n[audit]\nfile = {audit:?}\n[log]\nlevel = \"debug\"\nslow = \"1us\"\n");
    let proxy = Proxy::start(&shared_set().uri(), &sections);
    let script = "<img src=x onerror='window.pwned=1'><script>window.pwned=1</script>";
    let long = "W".repeat(120);
    for (application, collection) in [
        (script, script),
        ("\u{202e}gpj.exe", "a\u{200b}b"),
        (&long, &long),
    ] {
        let filter = doc! { script: 1, "\u{202e}x": 1 };
        command_as(
            proxy.address,
            application,
            doc! { "find": collection, "filter": filter },
        )
        .await;
    }
    let url = url(&proxy);
    let mut browser = Browser::open(&url);
    browser.until_says("link", "Token needed").await;
    browser.enter("clé secrète").await;
    browser.until_says("tokenhelp", "letters, digits").await;
    browser.enter("not-the-token-of-anybody").await;
    browser.until_says("tokenhelp", "was not taken").await;

    // Others behind the same address have guessed so often that the answer takes longer than a stream may be silent.
    let wrong = "Authorization: Bearer somebody-elses-token\r\n";
    thread::scope(|scope| {
        for _ in 0..12 {
            scope.spawn(|| http_get_with(proxy.admin, "/status", wrong).unwrap());
        }
    });
    browser.until("document.activeElement.id === 'token'").await;
    browser.enter(TOKEN).await;
    browser.until(PRIMARY).await;
    browser.until_says("link", "Live").await;
    let kept = format!(
        "!location.href.includes('{TOKEN}') && !document.documentElement.outerHTML.includes('{TOKEN}') && document.getElementById('token').value === '' \
         && document.cookie === '' && localStorage.length === 0"
    );
    browser.until(&kept).await;

    browser.until_says("applications", script).await;
    browser.until_says("namespaces", script).await;
    browser.until_says("slow", "{<img src=x onerror=").await;
    browser.until_says("applications", "\\u{202e}gpj.exe").await;
    browser.until_says("namespaces", "a\\u{200b}b").await;
    browser
        .until("!window.pwned && !document.querySelector('img, main script') && !/[\\u202e\\u200b]/.test(document.body.innerText)")
        .await;
    browser.narrow(390).await;
    browser.until(FITS).await;
    // The numbers beside the longest name are in view.
    let count = "[...document.querySelectorAll('#applications tr')].find((row) => row.textContent.includes('WWW')).lastElementChild.getBoundingClientRect().right <= 390";
    browser.until(count).await;
    // It is still known when the page is loaded again.
    browser
        .until("window.wasHere || (window.wasHere = true, location.reload(), true)")
        .await;
    browser.until(&format!("!window.wasHere && ({PRIMARY})")).await;

    let (_, requests) = browser.report().await;
    assert_alone(&requests, &url);
    browser.close().await;
    let (_, log) = proxy.stop();
    let told = log + &fs::read_to_string(&audit).unwrap();
    assert!(!told.contains(TOKEN) && !told.contains("not-the-token"), "{told}");
    assert!(!told.contains('\u{202e}'), "{told}");
}
