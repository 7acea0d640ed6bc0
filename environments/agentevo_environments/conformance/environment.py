"""Checks that any environment must pass, by name; a third party runs them in three lines.

    @pytest.mark.parametrize("name", ENVIRONMENT_CHECKS)
    def test_environment_conforms(name):
        ENVIRONMENT_CHECKS[name](MyEnvironment)

or all at once: `check_environment(MyEnvironment)`. `validation` needs no pytest.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, replace

from agentevo_environments.conformance.checks import ConformanceError, require, run_checks
from agentevo_environments.conformance.validation import perform, play
from agentevo_environments.environment import Environment
from agentevo_environments.errors import UnknownNameError
from agentevo_environments.task import Action, JSONValue, Task

EnvironmentFactory = Callable[[], Environment]
Check = Callable[[EnvironmentFactory], None]

SAMPLED_TASKS = 3
"""How many tasks the checks play."""

_TELLING_LENGTH = 8  # Shorter hidden texts, such as numbers, appear in observations by chance.


def check_environment(factory: EnvironmentFactory) -> None:
    """Run every check on the environments that `factory` makes.

    Raises:
        ConformanceError: Checks failed; the message names each and says why.
    """
    run_checks(ENVIRONMENT_CHECKS, factory)


def _sample(environment: Environment) -> Sequence[Task]:
    tasks = environment.tasks(n=SAMPLED_TASKS)
    require(len(tasks) > 0, "tasks() is empty")
    return tasks


def _solvable(environment: Environment) -> Iterator[tuple[Task, list[Action]]]:
    for task in _sample(environment):
        actions = environment.oracle(task)
        if actions is not None:
            yield task, [replace(a, id=f"{task.id}-{i}") for i, a in enumerate(actions)]


def _bad_actions(environment: Environment) -> Iterator[Action]:
    yield Action("no_such_tool", {"x": 1})
    yield Action("")
    for tool in environment.tools():
        properties = tool.parameters.get("properties", {})
        names = list(properties) if isinstance(properties, Mapping) else []
        yield Action(tool.name, {"no_such_argument": "x"})
        if tool.parameters.get("required"):
            yield Action(tool.name, {})
        if names:
            yield Action(tool.name, {name: {"wrong": ["type"]} for name in names})


def tasks_repeat(factory: EnvironmentFactory) -> None:
    """The same arguments give the same tasks, in any instance, and `n` takes the first."""
    with closing(factory()) as one, closing(factory()) as other:
        for seed in (0, 1):
            tasks = list(one.tasks(n=SAMPLED_TASKS, seed=seed))
            require(tasks == list(other.tasks(n=SAMPLED_TASKS, seed=seed)), "tasks() differ")
            require(
                tasks[:1] == list(one.tasks(n=1, seed=seed)), "tasks(n=1) is not the first task"
            )


def tasks_are_plain_and_unique(factory: EnvironmentFactory) -> None:
    """Ids are unique and not empty, prompts are there, and a task survives JSON."""
    with closing(factory()) as environment:
        tasks = list(environment.tasks(n=100))
        require(len({task.id for task in tasks}) == len(tasks), "task ids are not unique")
        for task in tasks:
            require(bool(task.id and task.prompt), f"{task.id!r} lacks an id or a prompt")
            require(task.split == "test", f"{task.id}: split is {task.split!r}, asked for 'test'")
            try:
                same = Task(**json.loads(json.dumps(asdict(task)))) == task
            except TypeError as error:
                raise ConformanceError(f"{task.id}: data is not JSON: {error}") from error
            require(same, f"{task.id}: data changes on its way through JSON (tuples? keys?)")


def unknown_split_is_refused(factory: EnvironmentFactory) -> None:
    """A split that does not exist raises UnknownNameError."""
    with closing(factory()) as environment:
        try:
            environment.tasks("no such split", n=1)
        except UnknownNameError:
            return
        raise ConformanceError("tasks('no such split') does not raise UnknownNameError")


def it_describes_itself(factory: EnvironmentFactory) -> None:
    """There are a name, instructions, a step limit, and tools with JSON Schemas for objects."""
    with closing(factory()) as environment:
        require(bool(environment.name and environment.instructions), "no name or no instructions")
        require(environment.step_limit >= 1, f"step_limit is {environment.step_limit!r}")
        environment.reset(_sample(environment)[0])
        tools = environment.tools()
        require(len({tool.name for tool in tools}) == len(tools) > 0, "no tools, or names twice")
        for tool in tools:
            require(bool(re.fullmatch(r"[A-Za-z_][\w-]{0,63}", tool.name)), f"name {tool.name!r}")
            require(bool(tool.description), f"the tool {tool.name} has no description")
            _require_schema(tool.name, tool.parameters)


def _require_schema(name: str, schema: Mapping[str, JSONValue]) -> None:
    properties = schema.get("properties", {})
    required = schema.get("required", [])
    require(schema.get("type") == "object", f"the schema of {name} is not of type object")
    require(
        isinstance(properties, Mapping)
        and isinstance(required, list)
        and all(isinstance(value, Mapping) for value in properties.values())
        and set(map(str, required)) <= set(properties),
        f"the schema of {name}: properties must be schemas, required a list of their names",
    )
    try:
        json.dumps(schema)
    except TypeError as error:
        raise ConformanceError(f"the schema of {name} is not JSON: {error}") from error


def bad_actions_are_observations(factory: EnvironmentFactory) -> None:
    """Unknown tools and wrong arguments are observations with `error=True` and a text."""
    with closing(factory()) as environment:
        task = _sample(environment)[0]
        environment.reset(task)
        for action in list(_bad_actions(environment)):
            environment.reset(task)
            try:
                seen = environment.step(action)
            except Exception as error:
                raise ConformanceError(f"{action} raises {error!r}") from error
            require(seen.error and bool(seen.text), f"{action} gives {seen}")


def oracles_score_one(factory: EnvironmentFactory) -> None:
    """A known solution scores 1 and solves its task."""
    with closing(factory()) as environment:
        for task, actions in _solvable(environment):
            grade = play(environment, task, actions)
            require(grade.solved and grade.score == 1.0, f"{task.id}: the oracle gets {grade}")


def failures_score_below_one(factory: EnvironmentFactory) -> None:
    """A known failure, and doing nothing at all, score below 1 and solve nothing."""
    with closing(factory()) as environment:
        for task in _sample(environment):
            for name, actions in (("decoy", environment.decoy(task)), ("doing nothing", [])):
                if actions is not None:
                    grade = play(environment, task, actions)
                    require(not grade.solved and grade.score < 1.0, f"{task.id}: {name}: {grade}")


def grades_repeat(factory: EnvironmentFactory) -> None:
    """Grading again gives the same grade and changes nothing."""
    with closing(factory()) as environment:
        for task, actions in _solvable(environment):
            first = play(environment, task, actions)
            require(environment.grade() == first, f"{task.id}: a second grade() differs")


def an_action_id_is_done_once(factory: EnvironmentFactory) -> None:
    """An action whose id was done before gives its first observation and has no second effect."""
    with closing(factory()) as environment:
        for task, actions in _solvable(environment):
            once = play(environment, task, actions)
            environment.reset(task)
            for action in actions:
                first = environment.step(action)
                again = environment.step(action)
                require(first == again, f"{task.id}: {action.tool} done again gives {again}")
            require(environment.grade() == once, f"{task.id}: repeated ids change the grade")


def snapshots_continue(factory: EnvironmentFactory) -> None:
    """Restored in another instance at any moment, an episode goes on as if uninterrupted.

    An environment that does not define `snapshot` is exempt: its episodes start again.
    """
    with closing(factory()) as one, closing(factory()) as other:
        if type(one).snapshot is Environment.snapshot:
            return
        for task, actions in _solvable(one):
            one.reset(task)
            whole = perform(one, actions)
            grade = one.grade()
            for done in range(len(whole) + 1):
                one.reset(task)
                perform(one, actions[:done])
                other.restore(task, json.loads(json.dumps(one.snapshot())))
                where = f"{task.id}, after action {done}"
                rest = perform(other, actions[done : len(whole)])
                require(rest == whole[done:], f"{where}: the rest of the episode differs")
                require(other.grade() == grade, f"{where}: the grade differs")
                again = [other.step(action) for action in actions[:done]]
                require(again == whole[:done], f"{where}: restore forgets the actions done")


def reset_forgets(factory: EnvironmentFactory) -> None:
    """After a reset nothing of the episode before is left, its action ids included."""
    with closing(factory()) as environment:
        for task, actions in _solvable(environment):
            solved = play(environment, task, actions)
            require(not play(environment, task, []).solved, f"{task.id}: solved after a reset")
            require(play(environment, task, actions) == solved, f"{task.id}: not solved again")


def episodes_are_separate(factory: EnvironmentFactory) -> None:
    """Two instances at work on the same task do not meet."""
    with closing(factory()) as one, closing(factory()) as other:
        for task, actions in _solvable(one):
            other.reset(task)
            require(play(one, task, actions).solved, f"{task.id}: the oracle fails beside another")
            require(not other.grade().solved, f"{task.id}: solved by another instance")


def hidden_data_stays_hidden(factory: EnvironmentFactory) -> None:
    """No text of `Task.data` beyond the prompt shows in tools, observations or grades."""
    with closing(factory()) as environment:
        for task in _sample(environment):
            hidden = [
                t for t in _texts(task.data) if len(t) >= _TELLING_LENGTH and t not in task.prompt
            ]
            shown = [environment.instructions, environment.reset(task).text]
            shown += [f"{tool.description} {tool.parameters}" for tool in environment.tools()]
            bad = list(_bad_actions(environment))[: environment.step_limit]
            decoy = environment.decoy(task) or []
            for actions in (bad, decoy):
                environment.reset(task)
                shown += [seen.text for seen in perform(environment, actions)]
                shown.append(environment.grade().detail)
            for text in hidden:
                leak = next((s for s in shown if text in s), None)
                require(leak is None, f"{task.id}: hidden {text[:40]!r} shows in {leak!r:.200}")


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _texts(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _texts(item)


def closing_twice_is_harmless(factory: EnvironmentFactory) -> None:
    """`close` may be called twice, and without any episode before."""
    environment = factory()
    environment.close()
    environment.close()


ENVIRONMENT_CHECKS: Mapping[str, Check] = {
    check.__name__: check
    for check in (
        tasks_repeat,
        tasks_are_plain_and_unique,
        unknown_split_is_refused,
        it_describes_itself,
        bad_actions_are_observations,
        oracles_score_one,
        failures_score_below_one,
        grades_repeat,
        an_action_id_is_done_once,
        snapshots_continue,
        reset_forgets,
        episodes_are_separate,
        hidden_data_stays_hidden,
        closing_twice_is_harmless,
    )
}
"""Every check by name."""
