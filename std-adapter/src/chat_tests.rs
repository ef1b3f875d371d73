//! Templates of the shapes that models have, written for this test.

use super::*;

/// The turns of Qwen and its kin.
const CHATML: &str = "\
{%- if messages[0]['role'] == 'system' %}
    {{- '<|im_start|>system\\n' + messages[0]['content'] + '<|im_end|>\\n' }}
{%- else %}
    {{- '<|im_start|>system\\nBe brief.<|im_end|>\\n' }}
{%- endif %}
{%- for message in messages %}
    {%- if message.role == 'user' or (message.role == 'system' and not loop.first) or message.role == 'assistant' %}
        {{- '<|im_start|>' + message.role + '\\n' + message.content.strip() + '<|im_end|>' + '\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
{%- endif %}
";

/// The turns of Llama 3 and of LLaDA.
const HEADERS: &str = "\
{% set loop_messages = messages %}{% for message in loop_messages %}\
{% set content = '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n' + message['content'] | trim + '<|eot_id|>' %}\
{% if loop.index0 == 0 %}{% set content = bos_token + content %}{% endif %}{{ content }}{% endfor %}\
{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}";

fn chat() -> Vec<Message> {
    vec![
        Message::new(Role::User, " Name a <planet>. "),
        Message::new(Role::Assistant, "Mars"),
        Message::new(Role::User, "Another"),
    ]
}

const NONE: [(&str, &str); 0] = [];

#[test]
fn turns_are_spelled_out() {
    let template = ChatTemplate::parse(CHATML, NONE).unwrap();
    assert_eq!(
        template.render(&chat(), true).unwrap(),
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nName a <planet>.<|im_end|>\n\
         <|im_start|>assistant\nMars<|im_end|>\n<|im_start|>user\nAnother<|im_end|>\n\
         <|im_start|>assistant\n"
    );
    let system = [Message::new(Role::System, "Rhyme."), Message::new(Role::User, "Hi")];
    assert_eq!(
        template.render(&system, false).unwrap(),
        "<|im_start|>system\nRhyme.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n"
    );
    let template = ChatTemplate::parse(HEADERS, [("bos_token", "<|startoftext|>")]).unwrap();
    assert_eq!(
        template.render(&chat()[..1], true).unwrap(),
        "<|startoftext|><|start_header_id|>user<|end_header_id|>\n\nName a <planet>.<|eot_id|>\
         <|start_header_id|>assistant<|end_header_id|>\n\n"
    );
}

#[test]
fn what_transformers_adds_is_there() {
    let render = |source: &str| ChatTemplate::parse(source, NONE)?.render(&chat(), true);
    let text = |source: &str| render(source).unwrap();
    assert_eq!(text("{{ strftime_now('%Y') | int > 2024 }}"), "True");
    assert!(matches!(render("{{ strftime_now('%!') }}"), Err(ChatError::Template { .. })));
    assert_eq!(
        text("{{ {'b': [1, 'é<'], 'a': none} | tojson }}"),
        r#"{"b": [1, "é<"], "a": null}"#
    );
    assert_eq!(text("{{ [1] | tojson(indent=2) }}"), "[\n  1\n]");
    assert_eq!(text("{{ tools is none and not documents and eos_token is undefined }}"), "True");
    assert_eq!(text("{{ 'a</think>\n b'.split('</think>')[-1].lstrip('\n') }}"), " b");
    assert_eq!(
        text(
            "{% set ns = namespace(n=0) %}{% for m in messages[::-1] %}{% set ns.n = ns.n + 1 %}{% if m.content.startswith('Mars') %}{% break %}{% endif %}{% endfor %}{{ ns.n }}"
        ),
        "2"
    );
    assert_eq!(text("a\n{# note #}\n  {% if true %}\nb\n{% endif %}\n"), "a\nb\n");
}

#[test]
fn errors_show_the_line() {
    let error = ChatTemplate::parse("a\n{% if %}\nb", NONE).unwrap_err().to_string();
    assert!(error.contains("in line 2, `{% if %}`"), "{error}");
    let error = ChatTemplate::parse("a\n\n {{ messages.x.y }}", NONE).unwrap();
    let error = error.render(&chat(), true).unwrap_err().to_string();
    assert!(error.contains("in line 3, `{{ messages.x.y }}`"), "{error}");
    let refusing = "{{ raise_exception('roles must alternate') }}";
    let error = ChatTemplate::parse(refusing, NONE).unwrap().render(&chat(), true).unwrap_err();
    assert_eq!(error.to_string(), "the chat template refuses these messages: roles must alternate");
}

#[test]
fn hostile_templates_end() {
    let endless = |source: &str| {
        let template = ChatTemplate::parse(source, NONE).unwrap();
        assert!(matches!(template.render(&chat(), true), Err(ChatError::Endless)), "{source}");
    };
    endless("{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}");
    endless(
        "{% set n = namespace(x='ab') %}{% for i in range(60) %}{% set n.x = n.x ~ n.x %}{% endfor %}",
    );
    endless("{{ 'x' * 90000000 }}");
    endless("{% for i in range(9999) %}{{ messages | tojson * 99 }}{% endfor %}");
    let deep = format!("{}{}", "{% if true %}".repeat(9999), "{% endif %}".repeat(9999));
    let _ = ChatTemplate::parse(&deep, NONE).map(|template| template.render(&chat(), true));
    let deep = format!("{{{{ {}1{} }}}}", "(".repeat(99_999), ")".repeat(99_999));
    assert!(ChatTemplate::parse(&deep, NONE).is_err());
    let recursive = "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}";
    assert!(ChatTemplate::parse(recursive, NONE).unwrap().render(&chat(), true).is_err());
    let long = " ".repeat(MAX_TEMPLATE_BYTES + 1);
    assert!(matches!(ChatTemplate::parse(&long, NONE), Err(ChatError::TooLong(_))));
}

#[test]
fn folders_and_files_have_their_templates() {
    let folder = tempfile::tempdir().unwrap();
    let from_folder = || ChatTemplate::from_folder(folder.path());
    let render = || from_folder().unwrap().unwrap().render(&chat(), true).unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    assert!(from_folder().unwrap().is_none());
    write("tokenizer_config.json", "{}");
    assert!(from_folder().unwrap().is_none());
    write("tokenizer_config.json", r#"{"chat_template": "one", "bos_token": null}"#);
    assert_eq!(render(), "one");
    write(
        "tokenizer_config.json",
        r#"{"chat_template": [{"name": "tool_use", "template": "x"},
            {"name": "default", "template": "{{ bos_token }}{{ eos_token }}"}],
            "bos_token": {"content": "<s>"}, "eos_token": "</s>", "add_bos_token": true}"#,
    );
    assert_eq!(render(), "<s></s>");
    write("chat_template.jinja", "{{ eos_token }}");
    assert_eq!(render(), "</s>", "the file is the newer way");
    write("tokenizer_config.json", "[");
    assert!(matches!(from_folder(), Err(ChatError::File { .. })));
}
