"""Read YAML as people write it: a key that is given twice is a mistake, not a choice."""

from collections.abc import Hashable
from typing import Any

import yaml


class UniqueKeyLoader(yaml.SafeLoader):
    """YAML whose mappings have each key once; plain YAML silently keeps the last one."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """Return a mapping; see `yaml.SafeLoader`.

        Raises:
            yaml.constructor.ConstructorError: A key is given twice.
        """
        seen: dict[object, int] = {}
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":  # `<<: *anchor` may be repeated
                continue
            key, line = self.construct_object(key_node, deep=True), key_node.start_mark.line + 1
            if isinstance(key, Hashable):
                if key in seen:
                    raise yaml.constructor.ConstructorError(
                        None, None, f"key {key!r} is given in line {seen[key]} and in line {line}"
                    )
                seen[key] = line
        return super().construct_mapping(node, deep)


def read_yaml(text: str) -> Any:
    """Return the values of a YAML document.

    Raises:
        yaml.YAMLError: It is no YAML, or gives a key twice.
    """
    return yaml.load(text, UniqueKeyLoader)
