//! `kuring completions` and `kuring man`: made from the very flags that the program reads.
#![forbid(unsafe_code)]

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Command};
use clap_complete::Shell;

/// Print what makes a shell complete this program's commands and flags.
#[derive(Debug, Args)]
#[command(after_help = "For bash: kuring completions bash > \
                        ~/.local/share/bash-completion/completions/kuring")]
pub struct CompletionsArgs {
    /// The shell.
    shell: Shell,
}

/// Print the man page of this program, or write those of all its commands.
#[derive(Debug, Args)]
#[command(after_help = "To read one: kuring man perf | man -l -\n\
                        To install them: kuring man --dir /usr/local/share/man/man1")]
pub struct ManArgs {
    /// The command; the program itself without one.
    #[arg(conflicts_with = "dir")]
    command: Option<String>,
    /// Write the pages of the program and of every command into this folder.
    #[arg(long, value_name = "FOLDER")]
    dir: Option<PathBuf>,
}

/// Prints the completions for `program`.
///
/// # Errors
/// Standard output.
pub fn completions(args: &CompletionsArgs, mut program: Command) -> io::Result<ExitCode> {
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut program, "kuring", &mut text);
    io::stdout().write_all(&text)?;
    Ok(ExitCode::SUCCESS)
}

/// Prints or writes the man pages of `program`.
///
/// # Errors
/// No such command; the folder; standard output.
pub fn man(args: &ManArgs, mut program: Command) -> io::Result<ExitCode> {
    program.build();
    if let Some(folder) = &args.dir {
        let named = |error: io::Error| {
            io::Error::new(error.kind(), format!("{}: {error}", folder.display()))
        };
        std::fs::create_dir_all(folder).map_err(named)?;
        for (name, page) in pages(&program)? {
            std::fs::write(folder.join(format!("{name}.1")), page).map_err(named)?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let wanted = args.command.as_ref().map_or_else(|| "kuring".into(), |it| format!("kuring-{it}"));
    let pages = pages(&program)?;
    let Some((_, page)) = pages.iter().find(|(name, _)| *name == wanted) else {
        let names: Vec<_> =
            pages.iter().filter_map(|(name, _)| name.strip_prefix("kuring-")).collect();
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("{:?} is no command; these are: {}", args.command, names.join(", ")),
        ));
    };
    io::stdout().write_all(page)?;
    Ok(ExitCode::SUCCESS)
}

/// Each page with its name.
fn pages(program: &Command) -> io::Result<Vec<(String, Vec<u8>)>> {
    let mut pages = vec![("kuring".to_owned(), page(program.clone())?)];
    for command in program.get_subcommands().filter(|it| !it.is_hide_set()) {
        let name = format!("kuring-{}", command.get_name());
        let command = command.clone().display_name(name.clone());
        pages.push((name, page(command)?));
    }
    Ok(pages)
}

fn page(command: Command) -> io::Result<Vec<u8>> {
    let mut page = Vec::new();
    clap_mangen::Man::new(command).render(&mut page)?;
    Ok(page)
}
