//! Regular expressions of filters: a small dialect, matched in linear time.
//!
//! Characters, `.`, classes, groups, `|`, `* + ? {m,n}`, the anchors `^ $` and the escapes
//! `\d \w \s` with their complements. Anything else is an error, and the caller compares texts.

/// Longest program, so that nested repetition cannot eat the memory.
const PROGRAM_LIMIT: usize = 10_000;
/// Deepest nesting of groups.
const DEPTH_LIMIT: usize = 50;

/// A compiled expression.
#[derive(Debug)]
pub struct Pattern {
    program: Vec<Step>,
}

#[derive(Clone, Debug)]
enum Step {
    /// Takes one character.
    Take(Class),
    /// Goes on at both places.
    Split(usize, usize),
    Jump(usize),
    Start,
    End,
    Match,
}

#[derive(Clone, Debug)]
struct Class {
    is_negated: bool,
    ranges: Vec<(char, char)>,
}

#[derive(Clone, Debug)]
enum Node {
    Take(Class),
    Start,
    End,
    All(Vec<Node>),
    Any(Vec<Node>),
    Repeat(Box<Node>, usize, Option<usize>),
}

impl Pattern {
    /// Compiles; `None` if the text is no expression of this dialect.
    pub fn new(text: &str) -> Option<Self> {
        let mut parser = Parser { text: text.chars().peekable(), depth: 0 };
        let node = parser.alternatives()?;
        if parser.text.next().is_some() {
            return None;
        }
        let mut program = Vec::new();
        emit(&node, &mut program)?;
        program.push(Step::Match);
        Some(Self { program })
    }

    /// Compiles an expression that must fit the whole text unless it has anchors of its own.
    pub fn anchored(text: &str) -> Option<Self> {
        if text.contains(['^', '$']) { Self::new(text) } else { Self::new(&format!("^({text})$")) }
    }

    /// Whether the expression fits somewhere in the text.
    pub fn matches(&self, text: &str) -> bool {
        let characters: Vec<char> = text.chars().collect();
        let mut current = vec![false; self.program.len()];
        for position in 0..=characters.len() {
            self.follow(&mut current, 0, position, characters.len());
            if current[self.program.len() - 1] {
                return true;
            }
            let Some(&character) = characters.get(position) else { break };
            let mut next = vec![false; self.program.len()];
            for (index, step) in self.program.iter().enumerate() {
                if let (true, Step::Take(class)) = (current[index], step)
                    && class.contains(character)
                {
                    self.follow(&mut next, index + 1, position + 1, characters.len());
                }
            }
            current = next;
        }
        false
    }

    /// Marks every step that is reached from `start` without taking a character.
    fn follow(&self, marks: &mut [bool], start: usize, position: usize, length: usize) {
        let mut pending = vec![start];
        while let Some(index) = pending.pop() {
            if std::mem::replace(&mut marks[index], true) {
                continue;
            }
            match self.program[index] {
                Step::Split(a, b) => pending.extend([a, b]),
                Step::Jump(target) => pending.push(target),
                Step::Start if position == 0 => pending.push(index + 1),
                Step::End if position == length => pending.push(index + 1),
                Step::Start | Step::End | Step::Take(_) | Step::Match => {}
            }
        }
    }
}

impl Class {
    fn one(character: char) -> Self {
        Self { is_negated: false, ranges: vec![(character, character)] }
    }

    fn contains(&self, character: char) -> bool {
        self.ranges.iter().any(|&(low, high)| low <= character && character <= high) != self.is_negated
    }
}

fn emit(node: &Node, program: &mut Vec<Step>) -> Option<()> {
    if program.len() > PROGRAM_LIMIT {
        return None;
    }
    match node {
        Node::Take(class) => program.push(Step::Take(class.clone())),
        Node::Start => program.push(Step::Start),
        Node::End => program.push(Step::End),
        Node::All(nodes) => nodes.iter().try_for_each(|node| emit(node, program))?,
        Node::Any(nodes) => emit_any(nodes, program)?,
        Node::Repeat(node, least, most) => emit_repeat(node, *least, *most, program)?,
    }
    Some(())
}

fn emit_any(nodes: &[Node], program: &mut Vec<Step>) -> Option<()> {
    let mut jumps = Vec::new();
    for (index, node) in nodes.iter().enumerate() {
        let is_last = index + 1 == nodes.len();
        let split = program.len();
        if !is_last {
            program.push(Step::Split(split + 1, 0));
        }
        emit(node, program)?;
        if !is_last {
            jumps.push(program.len());
            program.push(Step::Jump(0));
            program[split] = Step::Split(split + 1, program.len());
        }
    }
    let end = program.len();
    for jump in jumps {
        program[jump] = Step::Jump(end);
    }
    Some(())
}

fn emit_repeat(node: &Node, least: usize, most: Option<usize>, program: &mut Vec<Step>) -> Option<()> {
    for _ in 0..least {
        emit(node, program)?;
    }
    let Some(most) = most else {
        let split = program.len();
        program.push(Step::Split(split + 1, 0));
        emit(node, program)?;
        program.push(Step::Jump(split));
        program[split] = Step::Split(split + 1, program.len());
        return Some(());
    };
    let mut splits = Vec::new();
    for _ in least..most {
        splits.push(program.len());
        program.push(Step::Split(program.len() + 1, 0));
        emit(node, program)?;
    }
    let end = program.len();
    for split in splits {
        program[split] = Step::Split(split + 1, end);
    }
    Some(())
}

struct Parser<'a> {
    text: std::iter::Peekable<std::str::Chars<'a>>,
    depth: usize,
}

impl Parser<'_> {
    fn alternatives(&mut self) -> Option<Node> {
        let mut nodes = vec![self.sequence()?];
        while self.text.next_if_eq(&'|').is_some() {
            nodes.push(self.sequence()?);
        }
        if nodes.len() == 1 { nodes.pop() } else { Some(Node::Any(nodes)) }
    }

    fn sequence(&mut self) -> Option<Node> {
        let mut nodes = Vec::new();
        while let Some(&character) = self.text.peek() {
            if matches!(character, '|' | ')') {
                break;
            }
            let node = self.atom()?;
            nodes.push(self.repeated(node)?);
        }
        Some(Node::All(nodes))
    }

    fn atom(&mut self) -> Option<Node> {
        Some(match self.text.next()? {
            '^' => Node::Start,
            '$' => Node::End,
            '.' => Node::Take(Class { is_negated: true, ranges: vec![('\n', '\n')] }),
            '[' => Node::Take(self.class()?),
            '(' => self.group()?,
            '\\' => Node::Take(escape(self.text.next()?)?),
            '*' | '+' | '?' | '{' => return None,
            character => Node::Take(Class::one(character)),
        })
    }

    fn group(&mut self) -> Option<Node> {
        self.depth += 1;
        if self.depth > DEPTH_LIMIT {
            return None;
        }
        if self.text.next_if_eq(&'?').is_some() {
            self.text.next_if_eq(&':')?;
        }
        let node = self.alternatives()?;
        self.text.next_if_eq(&')')?;
        self.depth -= 1;
        Some(node)
    }

    fn repeated(&mut self, node: Node) -> Option<Node> {
        let (least, most) = match self.text.peek() {
            Some('*') => (0, None),
            Some('+') => (1, None),
            Some('?') => (0, Some(1)),
            Some('{') => return self.counted(node),
            _ => return Some(node),
        };
        self.text.next();
        // The shortest fit is as good as the longest where only "fits or not" is asked.
        self.text.next_if_eq(&'?');
        Some(Node::Repeat(Box::new(node), least, most))
    }

    fn counted(&mut self, node: Node) -> Option<Node> {
        self.text.next();
        let mut inner = String::new();
        while let Some(character) = self.text.next_if(|&c| c.is_ascii_digit() || c == ',') {
            inner.push(character);
        }
        self.text.next_if_eq(&'}')?;
        let (least, most) = match inner.split_once(',') {
            None => (inner.parse().ok()?, Some(inner.parse().ok()?)),
            Some((least, "")) => (least.parse().ok()?, None),
            Some((least, most)) => (least.parse().ok()?, Some(most.parse().ok()?)),
        };
        let is_sane = least <= 1000 && most.is_none_or(|most: usize| least <= most && most <= 1000);
        is_sane.then(|| Node::Repeat(Box::new(node), least, most))
    }

    fn class(&mut self) -> Option<Class> {
        let is_negated = self.text.next_if_eq(&'^').is_some();
        let mut ranges: Vec<(char, char)> = Vec::new();
        loop {
            let low = match self.text.next()? {
                ']' if !ranges.is_empty() => return Some(Class { is_negated, ranges }),
                '\\' => {
                    let escaped = escape(self.text.next()?)?;
                    if escaped.is_negated {
                        return None;
                    }
                    if escaped.ranges.len() > 1 || escaped.ranges.iter().any(|(low, high)| low != high) {
                        ranges.extend(escaped.ranges);
                        continue;
                    }
                    escaped.ranges.first()?.0
                }
                character => character,
            };
            let mut ahead = self.text.clone();
            let high = match (ahead.next(), ahead.next()) {
                (Some('-'), Some(high)) if high != ']' => {
                    self.text = ahead;
                    high
                }
                _ => low,
            };
            if high < low {
                return None;
            }
            ranges.push((low, high));
        }
    }
}

fn escape(character: char) -> Option<Class> {
    let ranges = match character.to_ascii_lowercase() {
        'd' => vec![('0', '9')],
        'w' => vec![('a', 'z'), ('A', 'Z'), ('0', '9'), ('_', '_')],
        's' => vec![(' ', ' '), ('\t', '\r')],
        _ if character.is_ascii_alphanumeric() => return None,
        _ => return Some(Class::one(character)),
    };
    Some(Class { is_negated: character.is_ascii_uppercase(), ranges })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fits() {
        let cases = [
            ("web.*", "web1", true),
            ("web.*", "xweb", false),
            ("^web", "web1", true),
            ("web$", "xweb", true),
            ("(a|bc)+x?", "abca", true),
            ("(a|bc)+x?", "abcaxx", false),
            ("[a-c0-9_-]{2,3}", "a-", true),
            ("[a-c0-9_-]{2,3}", "a-b9", false),
            ("[^a]b", "ab", false),
            (r"\d+\.\d+", "10.4", true),
            (r"\d+\.\d+", "1054", false),
            ("a{0}b", "b", true),
            ("(a*)*b", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaac", false),
            ("", "", true),
            ("", "a", false),
            ("é.", "éß", true),
        ];
        for (pattern, text, expected) in cases {
            assert_eq!(Pattern::anchored(pattern).expect(pattern).matches(text), expected, "{pattern} on {text}");
        }
    }

    #[test]
    fn refused() {
        for pattern in ["*a", "(a", "a)", "[a", "a{2", "[b-a]", r"\q", "(?P<x>a)", "a{5000}", "((a{1000}){1000}){1000}"] {
            assert!(Pattern::anchored(pattern).is_none(), "{pattern}");
        }
        assert!(Pattern::new(&"(".repeat(100_000)).is_none());
    }
}
