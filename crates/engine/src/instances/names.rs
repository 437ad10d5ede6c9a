//! Names for instances that were not given one: an adjective and an animal.

const ADJECTIVES: &[&str] = &[
    "able", "agile", "amber", "apt", "bold", "brave", "bright", "brisk", "calm", "candid", "clear", "clever", "cosmic", "crisp", "daring",
    "deft", "eager", "early", "easy", "epic", "fair", "famous", "fast", "fine", "firm", "fleet", "fond", "frank", "free", "fresh",
    "gentle", "glad", "golden", "good", "grand", "great", "happy", "hardy", "humble", "ideal", "jolly", "keen", "kind", "large", "lively",
    "loyal", "lucky", "mellow", "merry", "mighty", "modest", "neat", "nimble", "noble", "patient", "plucky", "polite", "prime", "proud",
    "quick", "quiet", "rapid", "ready", "robust", "sharp", "shiny", "silent", "sincere", "smart", "smooth", "solid", "steady", "stout",
    "sunny", "sure", "sweet", "swift", "tidy", "tough", "true", "vivid", "warm", "wise", "witty", "worthy", "zealous",
];

const ANIMALS: &[&str] = &[
    "adder", "alpaca", "ant", "antelope", "badger", "bat", "bear", "beaver", "bee", "bison", "boar", "bream", "bug", "camel", "cat",
    "clam", "cobra", "cod", "condor", "crab", "crane", "cricket", "crow", "deer", "dingo", "dog", "dolphin", "dove", "duck", "eagle",
    "eel", "egret", "elk", "emu", "falcon", "ferret", "finch", "fox", "frog", "gecko", "gnu", "goat", "goose", "gull", "hare", "hawk",
    "heron", "horse", "ibex", "ibis", "jackal", "jay", "koala", "lark", "lemur", "lion", "lizard", "llama", "lynx", "magpie", "marmot",
    "mole", "moose", "moth", "mouse", "mule", "newt", "orca", "otter", "owl", "ox", "panda", "parrot", "pelican", "perch", "pig", "pony",
    "puffin", "puma", "rabbit", "ram", "raven", "robin", "salmon", "seal", "shark", "sheep", "shrew", "skunk", "snail", "sparrow", "squid",
    "stag", "stork", "swan", "tapir", "tern", "tiger", "toad", "trout", "turtle", "viper", "vole", "walrus", "wasp", "weasel", "whale",
    "wolf", "wombat", "wren", "yak", "zebra",
];

/// A name that is not `taken`. Numbers are added once the plain ones run out.
pub(crate) fn generate(taken: impl Fn(&str) -> bool) -> String {
    let count = ADJECTIVES.len() * ANIMALS.len();
    let start = uuid::Uuid::new_v4().as_u128() as usize % count;
    for round in 0_usize.. {
        for step in 0..count {
            let index = (start + step) % count;
            let (adjective, animal) = (ADJECTIVES[index % ADJECTIVES.len()], ANIMALS[index / ADJECTIVES.len()]);
            let name = if round == 0 { format!("{adjective}-{animal}") } else { format!("{adjective}-{animal}-{round}") };
            if !taken(&name) {
                return name;
            }
        }
    }
    // Names never run out; this only satisfies the type.
    String::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_valid_and_free() {
        for _ in 0..50 {
            assert!(keys::names::check_instance(&generate(|_| false)).is_ok());
        }
        assert!(generate(|name| !name.ends_with("-1")).ends_with("-1"));
        for word in ADJECTIVES.iter().chain(ANIMALS) {
            assert!(word.bytes().all(|byte| byte.is_ascii_lowercase()), "{word}");
        }
    }
}
