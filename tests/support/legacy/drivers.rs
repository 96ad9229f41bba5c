//! The old drivers, and what each needs.

use std::process::Command;

use super::{
    Side, commands,
    programs::{self, Compiled, Script},
};

/// An old driver and the program that does the exercise with it.
#[derive(Debug)]
pub(crate) struct Driver {
    /// Its name and version.
    pub(crate) name: &'static str,
    /// Runs with `cargo test`; the others with the bench alone.
    pub(crate) tested: bool,
    /// It discovers replica sets, if it is told to.
    discovers: bool,
    program: Program,
}

#[derive(Debug)]
enum Program {
    /// By the Python that the tests need anyway.
    Python(&'static str),
    /// By Python 2.7.
    Python2(&'static str),
    /// The module's name.
    Node(&'static str),
    /// The module's name; by Node 6.
    Node6(&'static str),
    Script(&'static Script),
    Compiled(&'static Compiled),
}

/// All of them.
pub(crate) const DRIVERS: &[Driver] = &[
    bench("pymongo 2.4.2", true, Program::Python2("2.4.2")),
    bench("pymongo 2.8", true, Program::Python2("2.8")),
    bench("pymongo 2.9.5", true, Program::Python2("2.9.5")),
    bench("pymongo 3.4.0", true, Program::Python2("3.4.0")),
    bench("pymongo 3.6.1", true, Program::Python2("3.6.1")),
    tested("pymongo 3.12.3", true, Program::Python("3.12.3")),
    tested("pymongo 3.13.0", true, Program::Python("3.13.0")),
    tested("Node 1.2.14", true, Program::Node("mongodb-1.2")),
    bench("Node 1.4.40", true, Program::Node6("mongodb-1.4")),
    tested("Node 2.2.36", true, Program::Node("mongodb-2.2")),
    tested("Node 3.1.13", true, Program::Node("mongodb-3.1")),
    tested("Perl MongoDB 2.2.2", true, Program::Script(&programs::PERL)),
    tested(
        "libmongoclient 1.1.3",
        true,
        Program::Compiled(&programs::MONGOCLIENT),
    ),
    bench("Mango 1.30", false, Program::Script(&programs::MANGO)),
    bench("mgo 2016.08", true, Program::Compiled(&programs::MGO)),
    bench(
        "libmongo-client 0.1.8",
        false,
        Program::Compiled(&programs::LIBMONGO_CLIENT),
    ),
    bench("Poco 1.11", false, Program::Compiled(&programs::POCO)),
    bench("Ruby 2.5.1", true, Program::Script(&programs::RUBY)),
    bench("Java 3.6.3", true, Program::Script(&programs::JAVA)),
    bench("PHP 1.15", true, Program::Script(&programs::PHP)),
];

const fn tested(name: &'static str, discovers: bool, program: Program) -> Driver {
    Driver {
        name,
        tested: true,
        discovers,
        program,
    }
}

const fn bench(name: &'static str, discovers: bool, program: Program) -> Driver {
    Driver {
        name,
        tested: false,
        discovers,
        program,
    }
}

impl Driver {
    /// As what the proxy is to be presented to it.
    pub(crate) fn presentations(&self) -> &'static [Side] {
        match self.discovers {
            true => &[Side::Mongos, Side::ReplicaSet],
            false => &[Side::Mongos],
        }
    }

    /// The program, without arguments, made if need be.
    ///
    /// # Errors
    /// What is missing on this machine, and how to get it.
    pub(crate) fn command(&self) -> Result<Command, String> {
        match self.program {
            Program::Python(version) => Ok(commands::python(version)),
            Program::Python2(version) => commands::python2(version),
            Program::Node(module) => Ok(commands::node(module)),
            Program::Node6(module) => Ok(commands::node6(module)),
            Program::Script(script) => script.command(),
            Program::Compiled(compiled) => compiled.command(),
        }
    }
}
