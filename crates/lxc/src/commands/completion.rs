//! `lxc completion`.

use anyhow::Result;
use clap::Args;
use clap_complete::Shell;

use crate::app::App;
use crate::{cli, output};

/// Words are taken from the line and not from COMP_WORDS, which bash splits at colons and equal
/// signs; for the same reason what is before the last of them is cut off the answers.
const BASH: &str = r#"# bash completion of lxc; asks `lxc __complete` what a word could be.
_lxc() {
    local line=${COMP_LINE:0:COMP_POINT} current prefix answer
    local -a words
    read -ra words <<< "$line"
    [[ $line != *[[:space:]] ]] || words+=("")
    current=${words[-1]}
    prefix=${current%"${current##*[:=]}"}
    COMPREPLY=()
    while IFS= read -r answer; do
        if [[ $answer == :files ]]; then
            compopt -o default
            continue
        fi
        answer=${answer%%$'\t'*}
        COMPREPLY+=("${answer#"$prefix"}")
        [[ $answer != *[/:=.] ]] || compopt -o nospace
    done < <("${words[0]}" __complete -- "${words[@]:1}" 2> /dev/null)
}
complete -F _lxc lxc
"#;

const ZSH: &str = r#"#compdef lxc
# zsh completion of lxc; asks `lxc __complete` what a word could be.
_lxc() {
    local answer word remark
    local -a plain open
    for answer in "${(@f)$("${words[1]}" __complete -- "${(@)words[2,CURRENT]}" 2> /dev/null)}"; do
        if [[ $answer == :files ]]; then
            _files
            continue
        fi
        word=${answer%%$'\t'*}
        remark=${answer#*$'\t'}
        [[ -n $word ]] || continue
        if [[ $word == *[/:=.] ]]; then
            open+=("${word//:/\\:}:$remark")
        else
            plain+=("${word//:/\\:}:$remark")
        fi
    done
    (( $#plain == 0 )) || _describe -t words 'lxc' plain
    (( $#open == 0 )) || _describe -t words 'lxc' open -S ''
}
if [[ $funcstack[1] == _lxc ]]; then
    _lxc "$@"
else
    compdef _lxc lxc
fi
"#;

const FISH: &str = r#"# fish completion of lxc; asks `lxc __complete` what a word could be.
function __lxc_complete
    set -l words (commandline --tokenize --cut-at-cursor --current-process)
    set -l current (commandline --current-token --cut-at-cursor)
    for answer in (command $words[1] __complete -- $words[2..] "$current" 2> /dev/null)
        if test "$answer" = :files
            __fish_complete_path "$current"
        else
            echo $answer
        end
    end
end
complete --command lxc --no-files --arguments '(__lxc_complete)'
"#;

/// Generate the completion script of a shell
///
/// Commands, flags, and the names of what is on the server. For this shell only:
/// `source <(lxc completion bash)`.
#[derive(Debug, Args)]
#[command(after_help = "\
lxc completion bash > /etc/bash_completion.d/lxc
lxc completion zsh > /usr/share/zsh/vendor-completions/_lxc
lxc completion fish > /etc/fish/completions/lxc.fish")]
pub struct Completion {
    /// bash, elvish, fish, powershell or zsh
    #[arg(value_enum, hide_possible_values = true)]
    shell: Shell,
}

impl Completion {
    pub async fn run(self, _app: &App) -> Result<()> {
        match self.shell {
            Shell::Bash => output::text_block(BASH),
            Shell::Zsh => output::text_block(ZSH),
            Shell::Fish => output::text_block(FISH),
            // Commands and flags only.
            other => {
                let mut script = Vec::new();
                clap_complete::generate(other, &mut cli::command(), "lxc", &mut script);
                output::bytes(&script);
            }
        }
        Ok(())
    }
}
