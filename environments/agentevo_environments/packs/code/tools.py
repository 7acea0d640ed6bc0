"""The tools of the `code` environment and what the agent is told after using them."""

from agentevo_environments.errors import ActionError
from agentevo_environments.sandboxes.base import ExecResult
from agentevo_environments.task import Action, JSONValue, Observation, ToolSpec

SHOWN_CHARACTERS = 4000
"""How much of a program's output the agent sees; the middle is cut."""


TOOLS = (
    ToolSpec.of(
        "run_python",
        "Run a Python program and see what it prints. Each run starts from nothing: no files or "
        "variables of earlier runs. Only the standard library is there, without a network.",
        code="string",
    ),
    ToolSpec.of(
        "submit",
        "Hand in the solution, a complete Python module that defines the function. Ends the task.",
        code="string",
    ),
)


def code_of(action: Action) -> str:
    """Return the source text that an action brings.

    Raises:
        ActionError: There is no such tool, or its arguments are wrong.
    """
    if action.tool not in {tool.name for tool in TOOLS}:
        raise ActionError(f"there is no tool {action.tool!r}; use run_python or submit")
    code = action.arguments.get("code")
    if set(action.arguments) != {"code"} or not isinstance(code, str) or not code.strip():
        raise ActionError(f"{action.tool} takes one argument, code, a non-empty text")
    try:
        code.encode()
    except UnicodeEncodeError as error:
        raise ActionError(f"the code is not valid Unicode text: {error}") from error
    return code


def recorded(seen: Observation) -> JSONValue:
    """Return an observation as JSON."""
    return [seen.text, seen.done, seen.error]


def replayed(record: JSONValue) -> Observation:
    """Return the observation that `recorded` wrote."""
    match record:
        case [str(text), bool(done), bool(error)]:
            return Observation(text, done, error)
    raise ActionError(f"not a recorded observation: {record!r:.200}")


def report(result: ExecResult) -> str:
    """Return what the agent sees of an execution: its output, then how it ended if not well."""
    text = "\n".join(part.rstrip() for part in (result.stdout, result.stderr) if part.strip())
    if len(text) > SHOWN_CHARACTERS:
        half = SHOWN_CHARACTERS // 2
        text = (
            f"{text[:half]}\n[... {len(text) - 2 * half} characters left out ...]\n{text[-half:]}"
        )
    if result.ok:
        return text or "[no output]"
    how = f"exit code {result.exit_code}" if result.ending == "exited" else result.ending
    return f"{text}\n[{how}]".lstrip()
