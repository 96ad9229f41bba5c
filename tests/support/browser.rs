//! A page in a real browser (`tests/browser/chromium.mjs`).

use std::{process::Stdio, time::Duration};

use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
    time::timeout,
};

/// How long the browser may take for what it is waited for.
const LIMIT: Duration = Duration::from_secs(60);
/// The browser; Debian's package has this name.
const CHROMIUM: &str = "chromium";

/// A headless Chromium with one page. It ends when it is dropped.
pub(crate) struct Browser {
    process: Child,
    orders: Option<ChildStdin>,
    answers: Lines<BufReader<ChildStdout>>,
}

impl Browser {
    /// Opens a page.
    pub(crate) fn open(url: &str) -> Self {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/browser/chromium.mjs");
        let mut process = Command::new("node")
            .args([script, CHROMIUM, url])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("node is installed (.ci/run does that)");
        let answers = BufReader::new(process.stdout.take().unwrap()).lines();
        Self {
            orders: process.stdin.take(),
            answers,
            process,
        }
    }

    async fn ask(&mut self, order: &str) -> Value {
        let orders = self.orders.as_mut().unwrap();
        orders.write_all(format!("{order}\n").as_bytes()).await.unwrap();
        match timeout(LIMIT, self.answers.next_line()).await {
            Ok(Ok(Some(answer))) => {
                serde_json::from_str(&answer).unwrap_or_else(|_| panic!("{order}: {answer}"))
            }
            other => panic!(
                "the browser (Debian's chromium, which .ci/run installs) does not show {order}: {other:?}"
            ),
        }
    }

    /// The first value of a JavaScript expression in the page that is true.
    pub(crate) async fn until(&mut self, expression: &str) -> Value {
        assert!(!expression.contains('\n'), "an order is one line");
        self.ask(&format!("until {expression}")).await
    }

    /// Waits until an element's text has this in it.
    pub(crate) async fn until_says(&mut self, id: &str, text: &str) {
        let text = serde_json::to_string(text).unwrap();
        self.until(&format!("document.getElementById({id:?})?.checkVisibility() && document.getElementById({id:?}).textContent.includes({text})"))
            .await;
    }

    /// Types into the field that has the focus, and presses Enter.
    pub(crate) async fn enter(&mut self, text: &str) {
        self.ask(&format!("type {text}")).await;
    }

    /// What the console complained of, and the addresses that were asked for.
    pub(crate) async fn report(&mut self) -> (Vec<String>, Vec<String>) {
        let report = self.ask("report").await;
        let list = |name: &str| serde_json::from_value(report[name].clone()).unwrap();
        (list("errors"), list("requests"))
    }

    /// Shows the page as a telephone does: so many pixels wide.
    pub(crate) async fn narrow(&mut self, width: u32) {
        let file = tempfile::tempdir().unwrap();
        let file = file.path().join("page");
        self.ask(&format!("picture {} {width} 844 light", file.display()))
            .await;
    }

    /// Closes it, so that nothing of it is left over.
    pub(crate) async fn close(mut self) {
        drop(self.orders.take());
        assert!(
            timeout(LIMIT, self.process.wait())
                .await
                .unwrap()
                .unwrap()
                .success()
        );
    }
}
