//! Programs of drivers that Debian has: scripts, and what has to be compiled.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use super::commands::programs;
use crate::support::{environment::environment, run::run};

const LIMIT: Duration = Duration::from_secs(300);

/// A program that an interpreter runs.
#[derive(Debug)]
pub(super) struct Script {
    /// The interpreter and its arguments, before the script.
    command: &'static [&'static str],
    /// Below the programs' folder.
    script: &'static str,
    /// Succeeds if the driver is there.
    probe: &'static [&'static str],
    /// Debian's packages.
    packages: &'static str,
}

pub(super) const PERL: Script = Script {
    command: &["perl"],
    script: "perl/mongodb.pl",
    probe: &["perl", "-MMongoDB", "-e", "1"],
    packages: "libmongodb-perl",
};

pub(super) const MANGO: Script = Script {
    command: &["perl"],
    script: "perl/mango.pl",
    probe: &["perl", "-MMango", "-e", "1"],
    packages: "libmango-perl",
};

pub(super) const RUBY: Script = Script {
    command: &["ruby", "-W0"],
    script: "ruby/exercise.rb",
    probe: &["ruby", "-W0", "-e", "require 'mongo'"],
    packages: "ruby ruby-mongo",
};

pub(super) const JAVA: Script = Script {
    command: &["java", "-cp", "/usr/share/java/mongo-java-driver.jar"],
    script: "java/Exercise.java",
    probe: &[
        "sh",
        "-c",
        "javac -version && test -e /usr/share/java/mongo-java-driver.jar",
    ],
    packages: "default-jdk-headless libmongodb-java",
};

pub(super) const PHP: Script = Script {
    command: &["php"],
    script: "php/exercise.php",
    probe: &[
        "php",
        "-r",
        "new MongoDB\\Driver\\Manager('mongodb://127.0.0.1:1/');",
    ],
    packages: "php-cli php-mongodb",
};

impl Script {
    /// The program, without arguments; or what is missing.
    pub(super) fn command(&self) -> Result<Command, String> {
        if !succeeds(self.probe) {
            return Err(format!("Debian: apt-get install {}", self.packages));
        }
        let mut command = Command::new(self.command[0]);
        command.args(&self.command[1..]).arg(programs().join(self.script));
        Ok(command)
    }
}

/// A program that is compiled first.
#[derive(Debug)]
pub(super) struct Compiled {
    /// The compiler and its arguments, before `-o`.
    compiler: &'static [&'static str],
    /// Below the programs' folder.
    source: &'static str,
    /// Behind the source.
    libraries: &'static [&'static str],
    environment: &'static [(&'static str, &'static str)],
    /// Files that are there if the driver is.
    needs: &'static [&'static str],
    /// Debian's packages.
    packages: &'static str,
}

pub(super) const MONGOCLIENT: Compiled = Compiled {
    // The driver's headers are of a time before today's warnings.
    compiler: &["c++", "-std=c++11", "-O0", "-w"],
    source: "cpp/mongoclient.cpp",
    libraries: &["-lmongoclient", "-lpthread"],
    environment: &[],
    needs: &[
        "/usr/include/mongo/client/dbclient.h",
        "/usr/include/boost/version.hpp",
    ],
    packages: "g++ libboost-dev libmongoclient-dev",
};

pub(super) const POCO: Compiled = Compiled {
    compiler: &["c++", "-std=c++17", "-O0", "-w"],
    source: "cpp/poco.cpp",
    libraries: &["-lPocoMongoDB", "-lPocoNet", "-lPocoFoundation"],
    environment: &[],
    needs: &["/usr/include/Poco/MongoDB/Connection.h"],
    packages: "g++ libpoco-dev",
};

pub(super) const LIBMONGO_CLIENT: Compiled = Compiled {
    compiler: &["cc", "-O0", "-w"],
    source: "c/mongo_client.c",
    libraries: &[
        "-I/usr/include/glib-2.0",
        "-I/usr/lib/x86_64-linux-gnu/glib-2.0/include",
        "-I/usr/include/mongo-client",
        "-lmongo-client",
        "-lglib-2.0",
    ],
    environment: &[],
    needs: &["/usr/include/mongo-client/mongo.h"],
    packages: "gcc libmongo-client-dev libglib2.0-dev",
};

pub(super) const MGO: Compiled = Compiled {
    compiler: &["go", "build"],
    source: "go/mgo.go",
    libraries: &[],
    environment: &[
        ("GO111MODULE", "off"),
        ("GOPATH", "/usr/share/gocode"),
        ("GOFLAGS", ""),
    ],
    needs: &["/usr/share/gocode/src/gopkg.in/mgo.v2/session.go"],
    packages: "golang-go golang-gopkg-mgo.v2-dev",
};

impl Compiled {
    /// The program, without arguments; or what is missing.
    pub(super) fn command(&self) -> Result<Command, String> {
        let compiler = self.compiler[0];
        // `go` has no option for it.
        if !self.needs.iter().all(|file| Path::new(file).exists())
            || !(succeeds(&[compiler, "--version"]) || succeeds(&[compiler, "version"]))
        {
            return Err(format!("Debian: apt-get install {}", self.packages));
        }
        let source = programs().join(self.source);
        let text = fs::read_to_string(&source).unwrap();
        let name = format!("legacy-{}", source.file_stem().unwrap().to_string_lossy());
        let folder = environment(&name, &[&text, &self.compiler.join(" ")], |folder| {
            fs::create_dir_all(folder).unwrap();
            self.compile(&source, folder);
        });
        Ok(Command::new(folder.join("exercise")))
    }

    fn compile(&self, source: &Path, folder: &Path) {
        let mut command = Command::new(self.compiler[0]);
        command
            .args(&self.compiler[1..])
            .arg("-o")
            .arg(folder.join("exercise"))
            .arg(source)
            .args(self.libraries)
            .env("GOCACHE", folder.join("go-cache"))
            .envs(self.environment.iter().copied());
        let output = run(&mut command, LIMIT);
        assert!(output.status.success(), "compiling {}: {output:#?}", self.source);
    }
}

fn succeeds(command: &[&str]) -> bool {
    let status = Command::new(command[0])
        .args(&command[1..])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    status.is_ok_and(|status| status.success())
}
