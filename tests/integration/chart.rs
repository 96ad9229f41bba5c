//! The Helm chart, its alerts and dashboard, the Dockerfile and the systemd units. What can be checked without a cluster is checked by
//! `tests/helm/check.py`, with Helm's own library and Prometheus' own tool.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
    time::Duration,
};

use bson::doc;
use rcgen::DnType;

use crate::support::{
    Client, Output, Proxy,
    certificates::{Authority, Time, subject},
    environment::python_with,
    http_get, http_get_with, run, shared_proxy, shared_set,
};

const REQUIREMENTS: &str = include_str!("../helm/requirements.txt");
const LIMIT: Duration = Duration::from_secs(120);
const TOKEN: &str = "full-0123456789abcdef";
const READ_TOKEN: &str = "read-0123456789abcdef";

/// The interpreter of an environment that has Helm and the schemas.
pub(crate) fn python() -> &'static Path {
    static PYTHON: OnceLock<PathBuf> = OnceLock::new();
    PYTHON.get_or_init(|| python_with(REQUIREMENTS))
}

/// Runs `tests/helm/check.py` and returns what it prints; panics with that if anything is wrong.
fn check(arguments: &[&str]) -> String {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/helm/check.py");
    // -B: no compiled files among the sources.
    let Output {
        status,
        stdout,
        stderr,
    } = run(
        Command::new(python()).arg("-B").arg(script).args(arguments),
        LIMIT,
    );
    assert!(status.success(), "{stdout}\n{stderr}");
    stdout
}

/// Prometheus' tool, which Debian has in `prometheus`; `.ci/run` unpacks it into the cache.
fn promtool() -> PathBuf {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")));
    let unpacked = cache
        .unwrap_or_default()
        .join("tidegate/prometheus/usr/bin/promtool");
    let installed = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&installed)
        .map(|folder| folder.join("promtool"))
        .chain([unpacked])
        .find(|path| path.is_file())
        .expect("the tests need promtool on PATH (Debian: apt-get install prometheus, or run .ci/run)")
}

/// What Secrets hold that the chart mounts, in folders as there.
fn secrets(folder: &Path) {
    let write = |name: &str, text: &str| {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    };
    let authority = Authority::new();
    let ca = fs::read_to_string(authority.ca()).unwrap();
    let name = subject(&[(DnType::CommonName, "tidegate")]);
    let (certificate, key) = authority.issue_pem(&["tidegate"], name, Time::Now);
    for kind in ["tls", "admin-tls"] {
        write(&format!("{kind}/tls.crt"), &certificate);
        write(&format!("{kind}/tls.key"), &key);
        write(&format!("{kind}/ca.crt"), &ca);
    }
    write("upstream-tls/ca.crt", &ca);
    for key in ["uri", "string"] {
        write(
            &format!("upstream/{key}"),
            "mongodb://db1.example/?replicaSet=rs\n",
        );
    }
    for (keys, token) in [(["token", "on"], TOKEN), (["read-token", "1"], READ_TOKEN)] {
        for key in keys {
            write(&format!("admin/{key}"), token);
        }
    }
    write("users/users.toml", "");
}

#[test]
fn the_chart_renders_manifests_and_configurations_that_are_valid_in_every_mode() {
    let folder = tempfile::tempdir().unwrap();
    secrets(folder.path());
    let done = check(&[
        "charts",
        env!("CARGO_BIN_EXE_tidegate"),
        folder.path().to_str().unwrap(),
    ]);
    assert!(done.contains("0 problems in "), "{done}");
}

#[test]
fn alerts_and_dashboard_name_metrics_that_there_are_and_fire_when_they_should() {
    let (code, scrape) = http_get(shared_proxy().admin, "/metrics").unwrap();
    assert_eq!(code, 200, "{scrape}");
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), scrape).unwrap();
    let done = check(&[
        "rules",
        promtool().to_str().unwrap(),
        file.path().to_str().unwrap(),
    ]);
    assert!(done.contains("0 problems in "), "{done}");
}

#[test]
fn the_dockerfile_and_the_systemd_units_are_sound() {
    let done = check(&["packaging"]);
    assert!(done.contains("0 problems in "), "{done}");
}

#[tokio::test]
async fn the_charts_defaults_run_the_proxy() {
    let folder = tempfile::tempdir().unwrap();
    secrets(folder.path());
    let rendered = check(&["defaults"]);
    let uri = shared_set().uri();
    let proxy = Proxy::start_from(&|[address, admin]| {
        let replaced = [
            ("mongodb://db1.example,db2.example/?replicaSet=rs", uri.as_str()),
            ("0.0.0.0:27017", &address.to_string()),
            ("0.0.0.0:9218", &admin.to_string()),
            ("/etc/tidegate", folder.path().to_str().unwrap()),
        ];
        replaced.iter().fold(rendered.clone(), |text, (from, to)| {
            assert!(text.contains(from), "{from} is not in {text}");
            text.replace(from, to)
        })
    });

    // As a driver does that dials the Service, and as `helm test` does.
    let mut connect = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    connect.args(["check", "--connect"]).current_dir(folder.path());
    connect.env("TIDEGATE_UPSTREAM__URI", proxy.uri());
    let connected = run(&mut connect, LIMIT);
    assert!(connected.status.success(), "{connected:#?}");

    // As the kubelet and Prometheus do.
    for path in ["/livez", "/readyz"] {
        assert_eq!(http_get(proxy.admin, path).unwrap().0, 200, "{path}");
    }
    assert_eq!(http_get(proxy.admin, "/metrics").unwrap().0, 401);
    let header = format!("Authorization: Bearer {READ_TOKEN}\r\n");
    let (code, metrics) = http_get_with(proxy.admin, "/metrics", &header).unwrap();
    assert!(
        code == 200 && metrics.contains("\ntidegate_ready 1\n"),
        "{metrics}"
    );

    // As an application does.
    let mut client = Client::connect(proxy.address).await;
    let insert = doc! { "insert": "chart", "documents": [{ "_id": "default" }] };
    client.succeed("chart", insert).await;
}
