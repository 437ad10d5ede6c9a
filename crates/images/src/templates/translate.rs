//! From the template language of LXD images (pongo2, Django's syntax) to minijinja's.
//!
//! The two differ in how filters take arguments (`x|default:"y"`), in operators (`&&`, `||`,
//! `!`), in loops over maps, and in a few tags. What could reach other templates, keep state, or
//! multiply text is refused here by name, so that everything else needs no trust.

/// Filter that makes pairs of a map, for `for key, value in map`.
pub(super) const PAIRS: &str = "__pairs";
/// Filter through which every value goes that gets a name, by `with` or `for`: names are how text could double at
/// each step.
pub(super) const KEPT: &str = "__kept";
/// Filter that a `spaceless` block goes through.
pub(super) const SPACELESS: &str = "__spaceless";
/// How often `+` may join texts: as what has a name is bounded, so is growth.
const MAX_PLUS: usize = 100;

type Result<T> = std::result::Result<T, String>;

/// The template in minijinja's syntax.
pub(super) fn translate(source: &str) -> Result<String> {
    let mut translator = Translator { rest: source, out: String::with_capacity(source.len() + 64), plus: 0 };
    while let Some(at) = translator.rest.find('{') {
        translator.copy(at);
        match translator.rest.get(..2) {
            Some("{{") => translator.variable()?,
            Some("{%") => translator.tag()?,
            Some("{#") => {
                translator.take_until("#}").ok_or("a comment does not end")?;
            }
            _ => translator.copy(1),
        }
    }
    translator.copy(translator.rest.len());
    Ok(translator.out)
}

struct Translator<'a> {
    rest: &'a str,
    out: String,
    plus: usize,
}

impl<'a> Translator<'a> {
    fn copy(&mut self, count: usize) {
        let (taken, rest) = self.rest.split_at(count);
        self.out.push_str(taken);
        self.rest = rest;
    }

    fn skip(&mut self, count: usize) -> &'a str {
        let (taken, rest) = self.rest.split_at(count);
        self.rest = rest;
        taken
    }

    fn take_until(&mut self, end: &str) -> Option<&'a str> {
        let at = self.rest.find(end)?;
        let taken = self.skip(at);
        self.skip(end.len());
        Some(taken)
    }

    /// `{{ expression }}`
    fn variable(&mut self) -> Result<()> {
        self.copy(2);
        self.sign();
        self.expression("}}")?;
        self.sign();
        self.copy(2);
        Ok(())
    }

    /// The `-` of `{%-` and `-%}`.
    fn sign(&mut self) {
        if self.rest.starts_with('-') {
            self.copy(1);
        }
    }

    /// `{% name rest %}`
    fn tag(&mut self) -> Result<()> {
        let start = self.out.len();
        self.copy(2);
        self.sign();
        self.spaces();
        let name = self.skip(word_length(self.rest));
        match name {
            "if" | "elif" | "else" | "endif" | "endfor" | "endwith" | "endautoescape" => self.out.push_str(name),
            "empty" => self.out.push_str("else"),
            "for" => return self.for_tag(),
            "with" => self.with_tag()?,
            "autoescape" => self.auto_escape()?,
            "spaceless" => self.out.extend(["filter ", SPACELESS]),
            "endspaceless" => self.out.push_str("endfilter"),
            "firstof" => return self.first_of(start),
            "ifequal" => return self.if_equal("=="),
            "ifnotequal" => return self.if_equal("!="),
            "endifequal" | "endifnotequal" => self.out.push_str("endif"),
            "comment" => {
                self.out.truncate(start);
                return self.block("endcomment").map(drop);
            }
            "verbatim" => {
                self.out.truncate(start);
                let text = self.block("endverbatim")?;
                self.out.push_str(&text.replace('{', "{{ \"{\" }}"));
                return Ok(());
            }
            other => return Err(format!("tag `{other}` is not allowed")),
        }
        self.end_of_tag()
    }

    fn end_of_tag(&mut self) -> Result<()> {
        self.expression("%}")?;
        self.sign();
        self.copy(2);
        Ok(())
    }

    /// What is between the rest of this tag and the tag `end`, as it is.
    fn block(&mut self, end: &str) -> Result<&'a str> {
        self.take_until("%}").ok_or("a tag does not end")?;
        let whole = self.rest;
        loop {
            let before = self.rest.find("{%").map(|at| whole.len() - self.rest.len() + at).ok_or_else(|| format!("no `{end}`"))?;
            self.take_until("{%");
            let tag = self.take_until("%}").ok_or_else(|| format!("no `{end}`"))?;
            if tag.trim_matches(['-', ' ', '\t', '\n', '\r']) == end {
                return Ok(&whole[..before]);
            }
        }
    }

    /// `with a=x b=y`, or `with x as a`.
    fn with_tag(&mut self) -> Result<()> {
        self.out.push_str("with ");
        self.spaces();
        if !is_assignment(self.rest) {
            let start = self.out.len();
            self.tokens("%}", |rest| rest.starts_with("as") && word_length(rest) == 2)?;
            let value = self.out.split_off(start);
            if self.skip(word_length(self.rest)) != "as" {
                return Err("`with` names nothing".to_owned());
            }
            self.spaces();
            let name = self.name()?;
            self.out.push_str(&format!("{name} = ({value})|{KEPT}"));
            return Ok(());
        }
        while is_assignment(self.rest) {
            let name = self.name()?;
            self.skip(1);
            self.out.push_str(&format!("{name} = ("));
            self.tokens("%}", is_assignment)?;
            self.out.push_str(&format!(")|{KEPT}"));
            if is_assignment(self.rest) {
                self.out.push_str(", ");
            }
        }
        Ok(())
    }

    fn auto_escape(&mut self) -> Result<()> {
        self.spaces();
        match self.skip(word_length(self.rest)) {
            "on" => self.out.push_str("autoescape true"),
            "off" => self.out.push_str("autoescape false"),
            _ => return Err("`autoescape` takes on or off".to_owned()),
        }
        Ok(())
    }

    /// `firstof a b "c"`: the first that is true. `start` is where the tag began.
    fn first_of(&mut self, start: usize) -> Result<()> {
        let sign = self.out[start..].trim_end().ends_with('-');
        self.out.truncate(start);
        self.out.push_str(if sign { "{{- " } else { "{{ " });
        self.spaces();
        while !self.rest.starts_with("%}") && !self.rest.starts_with("-%}") {
            self.operand()?;
            while self.rest.starts_with('|') {
                self.filter()?;
            }
            self.out.push_str(" or ");
            self.spaces();
        }
        self.out.push_str("\"\" ");
        self.sign();
        self.skip(2);
        self.out.push_str("}}");
        Ok(())
    }

    /// `for x in list`, `for key, value in map`, either with `sorted` at the end.
    fn for_tag(&mut self) -> Result<()> {
        self.out.push_str("for ");
        self.spaces();
        let mut names = vec![self.name()?];
        if self.rest.starts_with(',') {
            self.skip(1);
            self.spaces();
            names.push(self.name()?);
        }
        if self.skip(word_length(self.rest)) != "in" {
            return Err("`for` without `in`".to_owned());
        }
        self.out.push_str(&names.join(", "));
        self.out.push_str(" in (");
        self.expression("%}")?;
        // Maps are sorted anyhow.
        let kept = self.out.trim_end().trim_end_matches(" sorted").len();
        self.out.truncate(kept);
        self.out.push_str(&format!(")|{KEPT}"));
        if names.len() == 2 {
            self.out.push('|');
            self.out.push_str(PAIRS);
        }
        self.sign();
        self.copy(2);
        Ok(())
    }

    fn if_equal(&mut self, operator: &str) -> Result<()> {
        self.out.push_str("if ");
        self.spaces();
        self.operand()?;
        self.out.push(' ');
        self.out.push_str(operator);
        self.spaces();
        self.operand()?;
        self.end_of_tag()
    }

    fn name(&mut self) -> Result<&'a str> {
        let name = self.skip(word_length(self.rest));
        self.spaces();
        if name.is_empty() { Err("a name is missing".to_owned()) } else { Ok(name) }
    }

    /// Copies white space.
    fn spaces(&mut self) {
        let count = self.rest.len() - self.rest.trim_start().len();
        self.copy(count);
    }

    /// Everything up to `end`, which is left, or to its `-`.
    fn expression(&mut self, end: &str) -> Result<()> {
        self.tokens(end, |_| false)
    }

    /// The same, but that it may be over before.
    fn tokens(&mut self, end: &str, is_over: fn(&str) -> bool) -> Result<()> {
        loop {
            let Some(first) = self.rest.chars().next() else { return Err(format!("`{end}` is missing")) };
            if self.rest.starts_with(end) || (first == '-' && self.rest[1..].starts_with(end)) || is_over(self.rest) {
                return Ok(());
            }
            match first {
                '"' | '\'' => self.string(first)?,
                '|' if self.rest.starts_with("||") => self.replace(2, " or "),
                '|' => self.filter()?,
                '&' if self.rest.starts_with("&&") => self.replace(2, " and "),
                '!' if self.rest.starts_with("!=") => self.copy(2),
                '!' => self.replace(1, " not "),
                '<' if self.rest.starts_with("<>") => self.replace(2, "!="),
                '+' => self.plus()?,
                _ if first.is_alphabetic() || first == '_' => self.word()?,
                _ if first.is_ascii_digit() || first.is_whitespace() => self.copy(first.len_utf8()),
                '(' | ')' | '[' | ']' | ',' | '.' | '=' | '<' | '>' | '-' | '/' => self.copy(1),
                other => return Err(format!("`{other}` is not allowed in an expression")),
            }
        }
    }

    fn replace(&mut self, count: usize, with: &str) {
        self.skip(count);
        self.out.push_str(with);
    }

    fn plus(&mut self) -> Result<()> {
        self.plus += 1;
        if self.plus > MAX_PLUS {
            return Err(format!("more than {MAX_PLUS} times `+`"));
        }
        self.copy(1);
        Ok(())
    }

    fn string(&mut self, quote: char) -> Result<()> {
        let mut escaped = false;
        for (at, c) in self.rest.char_indices().skip(1) {
            match c {
                _ if escaped => escaped = false,
                '\\' => escaped = true,
                _ if c == quote => {
                    self.copy(at + 1);
                    return Ok(());
                }
                _ => {}
            }
        }
        Err("a string does not end".to_owned())
    }

    /// `|name` or `|name:argument`.
    fn filter(&mut self) -> Result<()> {
        self.skip(1);
        self.spaces();
        let name = self.skip(word_length(self.rest));
        if name.is_empty() {
            return Err("a filter has no name".to_owned());
        }
        self.out.push('|');
        self.out.push_str(name);
        if self.rest.starts_with(':') {
            self.skip(1);
            self.out.push('(');
            self.spaces();
            self.operand()?;
            self.out.push(')');
        }
        Ok(())
    }

    /// A string, a number, or a name with its attributes.
    fn operand(&mut self) -> Result<()> {
        match self.rest.chars().next() {
            Some(quote @ ('"' | '\'')) => self.string(quote),
            Some(first) if first.is_alphanumeric() || first == '_' || first == '-' => {
                let count = self.rest.find(|c: char| !(c.is_alphanumeric() || matches!(c, '_' | '.' | '-'))).unwrap_or(self.rest.len());
                // The sign of `-%}` is not part of it.
                let count = self.rest[..count].trim_end_matches(['-', '.']).len();
                if first.is_alphabetic() {
                    return self.path(count);
                }
                self.copy(count.max(1));
                Ok(())
            }
            _ => Err("an argument is missing".to_owned()),
        }
    }

    fn path(&mut self, count: usize) -> Result<()> {
        let end = self.rest.len() - count;
        while self.rest.len() > end {
            match self.rest.as_bytes()[0] {
                b'.' | b'-' => self.copy(1),
                byte if byte.is_ascii_digit() => self.copy(1),
                _ => self.word()?,
            }
        }
        Ok(())
    }

    fn word(&mut self) -> Result<()> {
        let word = self.skip(word_length(self.rest));
        match word {
            "forloop" => {
                self.out.push_str("loop.");
                let attribute = self.rest.strip_prefix('.').map(|rest| &rest[..word_length(rest)]).unwrap_or_default();
                self.out.push_str(match attribute {
                    "Counter" => "index",
                    "Counter0" => "index0",
                    "Revcounter" => "revindex",
                    "Revcounter0" => "revindex0",
                    "First" => "first",
                    "Last" => "last",
                    other => return Err(format!("`forloop.{other}` is not known")),
                });
                self.skip(attribute.len() + 1);
            }
            "nil" => self.out.push_str("none"),
            other => self.out.push_str(other),
        }
        Ok(())
    }
}

/// Length of the name at the start of `text`, which may be none.
fn word_length(text: &str) -> usize {
    text.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(text.len())
}

/// Whether a name and `=` come next.
fn is_assignment(text: &str) -> bool {
    let after = text[word_length(text)..].trim_start();
    word_length(text) > 0 && after.starts_with('=') && !after.starts_with("==")
}
