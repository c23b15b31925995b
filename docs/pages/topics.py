"""`docs/reference/topics.md`: every topic, and who writes and reads it."""

import re
from collections.abc import Iterable

from docs.pages.markdown import GENERATED, code, table
from docs.pages.topic_files import TopicFile, topic_files


def topics_page() -> str:
    """The page."""
    topics = topic_files()
    parts = [
        "# Topics",
        GENERATED,
        "Each topic is a reviewed file in `schemas/topics/`, with its schemas and examples beside it.",
        data_flow(topics),
        table(
            ("topic", "key", "value", "written by", "read by", "cleanup"),
            (
                (
                    code(topic.topic),
                    "bytes" if topic.key.bytes else "text",
                    f"[{topic.subject} v{topic.value.version}](../../schemas/{topic.subject}/v{topic.value.version})",
                    ", ".join(topic.written_by),
                    ", ".join(topic.read_by),
                    topic.cleanup,
                )
                for topic in topics
            ),
        ),
        *map(_section, topics),
    ]
    return "\n\n".join(parts) + "\n"


def data_flow(topics: Iterable[TopicFile]) -> str:
    """The picture of who writes and who reads which topic, in Mermaid."""
    lines = ["```mermaid", "flowchart LR"]
    people: dict[str, None] = {}
    arrows = []
    for topic in topics:
        node = _node(topic.subject)
        lines.append(f'    {node}[("{_escaped(topic.topic)}")]')
        people |= dict.fromkeys((*topic.written_by, *topic.read_by))
        arrows += [f"    {_node(writer)} --> {node}" for writer in topic.written_by]
        arrows += [f"    {node} --> {_node(reader)}" for reader in topic.read_by]
    lines += [f'    {_node(person)}["{person}"]' for person in people]
    return "\n".join([*lines, *arrows, "```"])


def _section(topic: TopicFile) -> str:
    rows = [
        ("key", topic.key.meaning),
        ("value", topic.value.rule or f"One {topic.subject} document."),
        ("formats", ", ".join(topic.value.formats)),
        *((f"header {code(name)}", meaning) for name, meaning in topic.headers.items()),
        ("partitions", str(topic.partitions)),
        ("cleanup", str(topic.cleanup)),
        ("compatibility", topic.compatibility.value),
    ]
    return f"## `{topic.topic}`\n\n{topic.summary}\n\n" + table(("", ""), rows)


def _node(name: str) -> str:
    return re.sub(r"\W+", "_", name)


def _escaped(text: str) -> str:
    return text.replace("<", "&lt;").replace(">", "&gt;")
