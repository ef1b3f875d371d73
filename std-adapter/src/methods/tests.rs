//! Every entry of every table, as it is written, made and read back.

use super::*;
use demask::image::Architecture;
use std::collections::HashSet;

/// Everything that must hold for an entry.
fn check<K: Part>() {
    let mut names = HashSet::new();
    for entry in K::entries() {
        let called = std::iter::once(entry.name).chain(entry.aliases.iter().copied());
        for name in called {
            assert!(names.insert(name), "{name} twice");
            let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
            assert!(name.chars().all(plain), "{name}");
        }
        assert!(!entry.rule.is_empty() && !entry.source.is_empty(), "{}", entry.name);
        let spec = Spec::<K>::of(entry);
        let written = spec.to_string();
        let read: Spec<K> = written.parse().unwrap_or_else(|error| panic!("{written}: {error}"));
        assert_eq!(read, spec, "{written}");
        assert_eq!(read.entries().next().map(|e| e.name), Some(entry.name));
        let facts = entry.facts().unwrap_or_else(|error| panic!("{}: {error}", entry.name));
        // What only adds a need to another goes by the other's name.
        let inner = K::first().name;
        assert!(facts.name == entry.name || entry.wraps && facts.name == inner, "{facts:?}");
        assert!(facts.bytes_per_position <= 1024 && facts.fixed_bytes <= 1 << 20, "{facts:?}");
        for alias in entry.aliases {
            assert_eq!(alias.parse::<Spec<K>>().unwrap(), spec, "{alias}");
        }
        check_parameters(entry);
    }
}

/// What an entry builds is the type that it stands for, with the needs of that.
#[test]
fn needs_are_those_of_the_parts() {
    use demask::decode::{CommitPolicy, Prophet, TopQ};
    let facts =
        |name: &str| name.parse::<Spec<Policy>>().unwrap().entries().next().unwrap().facts();
    let needs = |name: &str| facts(name).unwrap().needs;
    assert_eq!(needs("threshold"), Needs::NONE);
    assert_eq!(needs("prophet"), Prophet::new(TopQ).needs());
    assert_eq!(needs("klass"), Needs::DIVERGENCE);
    assert_eq!(needs("credit"), Needs::BIAS);
    assert!(needs("wino").include(Needs::SHADOWS.and(Needs::REVISIONS)));
    assert!(needs("token-editing").include(Needs::BLOCK_ROWS.and(Needs::REVISIONS)));
    assert!(
        needs("daedal").include(Needs::RESIZING) && needs("cut-at-eos").include(Needs::RESIZING)
    );
    // Memory as documented: eight pairs and eight entries of the bias, a byte, a bit.
    assert_eq!(facts("credit").unwrap().bytes_per_position, 8 * (8 + 12));
    assert_eq!(facts("klass").unwrap().bytes_per_position, 1);
    let plan =
        |name: &str| Plan::entries().find(|entry| entry.name == name).unwrap().facts().unwrap();
    assert_eq!((plan("dpad").needs, plan("dpad").bytes_per_position), (Needs::VISIBILITY, 2));
    assert_eq!((plan("block").exact, plan("dual").exact), (Some(true), Some(false)));
    assert!(plan("free").forbids.include(Needs::REVISIONS));
}

/// Defaults and both limits are taken, and what is outside is refused with what is allowed.
fn check_parameters<K: Part>(entry: &'static Entry<K>) {
    for parameter in entry.parameters {
        let Parameter { name, kind, about } = parameter;
        assert!(!about.is_empty(), "{name}");
        let build = |value: String| {
            let text = format!("{}:{name}={value}", entry.name);
            let spec: Spec<K> = text.parse()?;
            assert!(spec.to_string().contains(&format!("{name}={value}")), "{spec}");
            let setting = Setting::typical(64);
            let mut memory = PartsMemory::new(spec.memory_bytes(&setting)?);
            spec.build(&setting, &mut memory.pieces()).map(|_| ())
        };
        build(kind.default_value().to_string()).unwrap();
        let (inside, outside) = match kind {
            Kind::Number { min, max, .. } => (
                [min.to_string(), max.to_string()].to_vec(),
                vec![(min - 1.0).to_string(), "NaN".into(), "x".into(), String::new()],
            ),
            // The most may be more memory than there is.
            Kind::Count { min, .. } => (vec![min.to_string()], vec!["-1".into(), "1.5".into()]),
            Kind::Word([]) => (Vec::new(), Vec::new()),
            Kind::Word(words) => {
                (words.iter().map(|w| (*w).to_owned()).collect(), vec!["?".into()])
            }
        };
        for value in inside {
            build(value).unwrap();
        }
        for value in outside {
            let error = build(value).unwrap_err();
            assert!(matches!(error, MethodError::Value { .. }), "{error}");
            assert!(error.to_string().contains(&kind.to_string()), "{error}");
        }
    }
}

#[test]
fn every_entry_is_what_it_says() {
    check::<Policy>();
    check::<Counts>();
    check::<End>();
    check::<Plan>();
}

#[test]
fn the_first_policy_is_no_wrapper() {
    assert!(!Policy::first().wraps);
}

#[test]
fn values_with_and_without_a_name() {
    let policy = |text: &str| text.parse::<Spec<Policy>>().unwrap().to_string();
    for text in ["threshold:p=0.8", "threshold:0.8", "threshold=0.8", " threshold : p = 0.8 "] {
        assert_eq!(policy(text), "threshold:p=0.8");
    }
    assert_eq!(policy("threshold"), "threshold:p=0.9");
    assert_eq!(policy("fast-dllm:0.5"), "threshold:p=0.5");
    let leap = "local-leap:anchor=0.9,relaxed=0.75,window=4";
    for text in ["localleap=0.9,0.75,4", "local-leap", "local-leap:window=4,anchor=0.9"] {
        assert_eq!(policy(text), leap);
    }
    let gaps = "first=7.5,middle=5,last=2.5,from=0,to=0";
    assert_eq!(policy("prophet"), format!("prophet:{gaps}+low-confidence"));
    assert_eq!(
        policy("lsp+prophet+localleap"),
        format!("stable-prefix:proposals=any+prophet:{gaps}+{leap}")
    );
}

#[test]
fn mistakes_get_advice() {
    let error = |text: &str| text.parse::<Spec<Policy>>().unwrap_err().to_string();
    assert!(error("treshold").contains("did you mean threshold?"));
    assert!(error("nonsense").contains("there are low-confidence, random"));
    assert!(error("").contains("there are low-confidence"));
    assert!(error("threshold:q=1").contains("no parameter \"q\""));
    assert!(error("threshold:q=1").contains("there are p") || error("threshold:q=1").contains("p"));
    assert!(error("threshold:1.5").contains("between 0 and 1"));
    assert!(error("threshold:p=").contains("between 0 and 1"));
    assert!(error("threshold:0.5,0.6").contains("1 values at most"));
    assert!(error("threshold:0.5,p=0.6").contains("twice"));
    assert!(error("low-confidence:3").contains("0 values at most"));
    assert!(error("threshold+low-confidence").contains("such as prophet, stable-prefix"));
    assert!("dul".parse::<Spec<Plan>>().unwrap_err().to_string().contains("did you mean dual?"));
}

#[test]
fn a_default_fills_only_what_is_open() {
    let mut spec: Spec<Policy> = "threshold".parse().unwrap();
    assert!(spec.set_if_open("threshold", "p", &Value::Number(0.7)));
    assert_eq!(spec.to_string(), "threshold:p=0.7");
    assert!(spec.set_if_open("threshold", "p", &Value::Number(0.6)));
    assert_eq!(spec.to_string(), "threshold:p=0.7");
    assert!(!spec.set_if_open("low-confidence", "p", &Value::Number(0.6)));
}

#[test]
fn presets_are_methods_that_exist() {
    for preset in presets::ALL {
        let text = format!("{preset:?}");
        preset.policy.parse::<Spec<Policy>>().expect(&text);
        preset.schedule.parse::<Spec<Counts>>().expect(&text);
        let cache: Spec<Plan> = preset.cache.parse().expect(&text);
        preset.end.parse::<Spec<End>>().expect(&text);
        assert!(!preset.source.is_empty());
        for level in presets::Level::ALL {
            for family in preset.families {
                assert!(presets::find(*family, level).is_some(), "{family:?} {level:?}");
            }
        }
        // A block-causal family keeps its exact cache.
        let blocks = [Architecture::Sdar, Architecture::FastDllm2, Architecture::Llada2];
        assert_eq!(
            cache.has("block"),
            preset.families.iter().any(|f| blocks.contains(f)),
            "{text}"
        );
    }
    assert_eq!(presets::ALL.len(), 15);
    for (i, preset) in presets::ALL.iter().enumerate() {
        for other in &presets::ALL[..i] {
            let same = other.families.iter().any(|f| preset.families.contains(f));
            assert!(!(same && other.level == preset.level), "two presets: {preset:?}");
        }
    }
    assert_eq!(presets::families(), "llada, llada-moe, llada2, dream, fast-dllm-v2, sdar");
    assert!(presets::find(Architecture::Llama, presets::Level::Fast).is_none());
}
