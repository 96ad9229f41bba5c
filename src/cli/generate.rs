//! `tidegate completions` and `tidegate man`: for those who package the program. Both are made of the command line itself.

use std::{
    fs,
    io::{self, Write},
    path::PathBuf,
};

use clap::CommandFactory;
use clap_complete::Shell;

use super::{Cli, Failure};

/// Prints the completions for a shell.
///
/// Load them in the shell's start-up file, or put them where it looks for them.
#[derive(Debug, clap::Args)]
#[command(after_long_help = COMPLETIONS_HELP)]
pub(super) struct Completions {
    /// The shell
    shell: Shell,
}

/// Writes the manual pages.
///
/// One for the program and one for each command into the directory; without one, that of the program is printed.
#[derive(Debug, clap::Args)]
#[command(after_long_help = MAN_HELP)]
pub(super) struct Man {
    /// Where they are written; it is made if it is not there
    #[arg(value_name = "DIR")]
    directory: Option<PathBuf>,
}

const COMPLETIONS_HELP: &str = "\
Examples:
  tidegate completions bash > /etc/bash_completion.d/tidegate
  tidegate completions zsh > /usr/share/zsh/site-functions/_tidegate
  tidegate completions fish > ~/.config/fish/completions/tidegate.fish

Exit codes: 0 success; 1 they cannot be written; 2 wrong arguments.";

const MAN_HELP: &str = "\
Examples:
  tidegate man | man -l -
  tidegate man /usr/share/man/man1

Exit codes: 0 success; 1 they cannot be written; 2 wrong arguments.";

pub(super) fn completions(arguments: &Completions) -> Result<(), Failure> {
    let mut text = Vec::new();
    clap_complete::generate(arguments.shell, &mut Cli::command(), "tidegate", &mut text);
    print(&text).map_err(Failure::work)
}

pub(super) fn man(arguments: &Man) -> Result<(), Failure> {
    match &arguments.directory {
        Some(directory) => fs::create_dir_all(directory)
            .and_then(|()| clap_mangen::generate_to(Cli::command(), directory))
            .map_err(Failure::work),
        None => {
            let mut text = Vec::new();
            let rendered = clap_mangen::Man::new(Cli::command()).render(&mut text);
            rendered.and_then(|()| print(&text)).map_err(Failure::work)
        }
    }
}

/// A reader that has gone (`| head`) is none of our concern.
fn print(text: &[u8]) -> io::Result<()> {
    match io::stdout().write_all(text) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn visible() -> Vec<String> {
        let command = Cli::command();
        let shown = command.get_subcommands().filter(|command| !command.is_hide_set());
        shown.map(|command| command.get_name().to_owned()).collect()
    }

    #[test]
    fn completions_know_every_command() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let mut text = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "tidegate", &mut text);
            let text = String::from_utf8(text).unwrap();
            for name in visible() {
                assert!(text.contains(&name), "{shell}: {name}");
            }
        }
    }

    #[test]
    fn every_command_has_a_manual_page_with_examples_and_exit_codes() {
        let folder = tempfile::tempdir().unwrap();
        let directory = Some(folder.path().join("man1"));
        man(&Man { directory }).unwrap();
        for name in visible() {
            let page = folder.path().join("man1").join(format!("tidegate-{name}.1"));
            let text = fs::read_to_string(&page).unwrap();
            assert!(text.contains(".TH"), "{}", page.display());
            assert!(text.contains("Exit codes") && text.contains("Examples"), "{text}");
        }
        assert!(folder.path().join("man1/tidegate.1").exists());
    }
}
