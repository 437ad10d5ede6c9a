//! From the template language of LXD images (pongo2, Django's syntax) to minijinja's.
//!
//! The two differ in how filters take arguments (`x|default:"y"`), in operators (`&&`, `||`,
//! `!`), in loops over maps, and in a few tags. What could reach other templates, keep state, or
//! multiply text is refused here by name, so that everything else needs no trust.

/// Filter that makes pairs of a map, for `for key, value in map`.
pub(super) const PAIRS: &str = "__pairs";
/// How often `+` may join texts: without assignments, growth is bounded by this.
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
            "if" | "elif" | "else" | "endif" | "endfor" => self.out.push_str(name),
            "empty" => self.out.push_str("else"),
            "for" => return self.for_tag(),
            "ifequal" => return self.if_equal("=="),
            "ifnotequal" => return self.if_equal("!="),
            "endifequal" | "endifnotequal" => self.out.push_str("endif"),
            "comment" => {
                self.out.truncate(start);
                return self.comment();
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

    fn comment(&mut self) -> Result<()> {
        self.take_until("%}").ok_or("tag `comment` does not end")?;
        loop {
            self.take_until("{%").ok_or("no `endcomment`")?;
            let tag = self.take_until("%}").ok_or("no `endcomment`")?;
            if tag.trim_matches(['-', ' ', '\t', '\n', '\r']) == "endcomment" {
                return Ok(());
            }
        }
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
        self.out.push(')');
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
        loop {
            let Some(first) = self.rest.chars().next() else { return Err(format!("`{end}` is missing")) };
            if self.rest.starts_with(end) || (first == '-' && self.rest[1..].starts_with(end)) {
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
