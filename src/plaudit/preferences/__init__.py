"""Preference data of any format as groups: `read_preferences`, `read_mixture`. No torch in here."""

from plaudit.preferences.collection import Preferences
from plaudit.preferences.group import Comparison, Completion, Message, PreferenceGroup, Prompt
from plaudit.preferences.merge import merge_by_prompt
from plaudit.preferences.mixture import read_mixture
from plaudit.preferences.reading import Source, read_preferences
from plaudit.preferences.report import ReadReport
from plaudit.preferences.samples import groups_from_samples

__all__ = [
    "Comparison",
    "Completion",
    "Message",
    "PreferenceGroup",
    "Preferences",
    "Prompt",
    "ReadReport",
    "Source",
    "groups_from_samples",
    "merge_by_prompt",
    "read_mixture",
    "read_preferences",
]
