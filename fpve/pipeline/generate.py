"""Having language models answer what no snapshot has an answer to: each distinct prompt once, several at a time."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from itertools import islice
from random import randrange
from threading import Event, Lock

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fpve import images
from fpve.config import PrefixRule
from fpve.errors import GenerationError, ImageError
from fpve.generators import Generator, answer_row
from fpve.planning.frozen import Frozen
from fpve.planning.plan import CollectionPlan
from fpve.progress import Progress, Stage
from fpve.sources.inputs import Inputs
from fpve.store.answers import AnswerLog

# So many failures in a row, without an answer in between, and the others are not asked: a server that hangs at every
# prompt would take a minute and all retries for each.
GIVE_UP = 20


@dataclass(frozen=True, slots=True)
class Question:
    """A prompt without an answer.

    Attributes:
        plan: the number of the collection plan that it is of.
        row: number of a file that has the prompt.
        prompt: the text.
        content_hash: of the picture that goes along; None where none does, or where only reading tells.
    """

    plan: int
    row: int
    prompt: str
    content_hash: str | None


@dataclass
class Generated:
    """What became of questions; it grows while they are asked.

    Attributes:
        answered: how many were.
        failed: how many were asked in vain.
        prompt_tokens, completion_tokens: what the answers took, as far as models say it.
        first_error: why the first one failed.
        content: what was learnt of files that had to be read, by the numbers of plan and row.
    """

    answered: int = 0
    failed: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    first_error: GenerationError | None = None
    content: dict[tuple[int, int], str] = field(default_factory=dict)

    @property
    def requests(self) -> int:
        """How many questions were asked."""
        return self.answered + self.failed

    def content_of(self, number: int, plan: CollectionPlan) -> pa.Array:
        """(n,) the content of a plan's files, with what was learnt of it; null where it is not known."""
        known = plan.files["content_hash"].combine_chunks()
        learnt = {row: content for (one, row), content in self.content.items() if one == number}
        if not learnt:
            return known
        mask = np.zeros(len(known), bool)
        mask[list(learnt)] = True
        return pc.replace_with_mask(
            known, pa.array(mask), pa.array([learnt[row] for row in sorted(learnt)], known.type)
        )


def questions(plans: tuple[CollectionPlan, ...], frozen: Frozen, rule: PrefixRule) -> dict[str, Question]:
    """The prompts of a rule that have no answer, of all collections that have the rule, each once, by what names it.

    Where pictures go along, one whose content is not known counts, for it may be new.
    """
    found: dict[str, Question] = {}
    if rule.generate is None:
        return found
    for number, plan in enumerate(plans):
        for at, parsed in enumerate(plan.rules):
            if parsed.rule == rule:
                found |= {name: one for name, one in _of_plan(number, plan, at, frozen) if name not in found}
    return found


def _of_plan(number: int, plan: CollectionPlan, rule_number: int, frozen: Frozen) -> Iterator[tuple[str, Question]]:
    rule, prefixes = plan.rules[rule_number].rule, plan.own.prefixes
    with_image = rule.generate is not None and rule.generate.with_image
    waiting = pc.and_not(prefixes.waiting, plan.known_bad)
    rows = np.flatnonzero(waiting.to_numpy(zero_copy_only=False) & (prefixes.rule == rule_number))
    # In the order of the source, in which an archive or a table is read fast.
    rows = rows[np.argsort(plan.files["number"].take(pa.array(rows)).to_numpy(), kind="stable")]
    prompts = prefixes.prompt.take(pa.array(rows)).to_pylist()
    content = plan.files["content_hash"].take(pa.array(rows)).to_pylist() if with_image else [None] * len(rows)
    for row, prompt, content_hash in zip(rows.tolist(), prompts, content, strict=True):
        if with_image and content_hash is None:
            yield f"row {number} {row}", Question(number, row, prompt, None)
            continue
        name = frozen.name(rule, prompt, content_hash)
        if name not in frozen:
            yield name, Question(number, row, prompt, content_hash)


def rules_of(plans: tuple[CollectionPlan, ...]) -> list[PrefixRule]:
    """The rules with a language model that any of the collections has, each once."""
    found: list[PrefixRule] = []
    for plan in plans:
        found += [one.rule for one in plan.rules if one.rule.generate is not None and one.rule not in found]
    return found


def generate(
    plans: tuple[CollectionPlan, ...], frozen: Frozen, log: AnswerLog | None, done: Generated, progress: Progress
) -> None:
    """Ask what has no answer, and add the answers to `frozen`, `done` and the log as they come.

    A prompt that fails is counted, and its images go without; so are those after many failures in a row.

    Raises:
        JobError: a model can't be asked: its client or its key is missing.
        GenerationError: a model is out of reach or refuses everything, or none of these collections' prompts has ever
            had a usable answer; what was answered before that is kept.
        OSError: the log can't be written.
    """
    asked = [(rule, list(questions(plans, frozen, rule).values())) for rule in rules_of(plans)]
    asked = [(rule, mine) for rule, mine in asked if mine]
    for rule, mine in asked:
        # What only reading its picture tells may be answered already; then no key is needed.
        surely = any(one.content_hash is not None for one in mine) or not _with_image(rule)
        if rule.generate is not None and rule.generate.max_requests != 0 and surely:
            frozen.generator(rule.generate).check()
    if asked:
        with progress.stage("generate", sum(len(mine) for _, mine in asked)) as stage, images.without_warnings():
            for rule, mine in asked:
                _Asking(plans, rule, frozen, log, done, stage).run(mine)
    # Where others were answered, tonight or some night before, these prompts are at fault.
    if done.first_error is not None and not done.answered and not any(map(_has_answers, plans)):
        raise done.first_error


def _with_image(rule: PrefixRule) -> bool:
    return rule.generate is not None and rule.generate.with_image


def _has_answers(plan: CollectionPlan) -> bool:
    names = plan.own.prefixes.generation_id
    return bool(names.null_count < len(names))


class _Asking:
    """The questions of one rule."""

    def __init__(
        self,
        plans: tuple[CollectionPlan, ...],
        rule: PrefixRule,
        frozen: Frozen,
        log: AnswerLog | None,
        done: Generated,
        stage: Stage,
    ) -> None:
        if rule.generate is None:
            raise ValueError("expected a rule with a language model")
        self._plans, self._rule, self._config = plans, rule, rule.generate
        self._frozen, self._log, self._done, self._stage = frozen, log, done, stage
        self._generator: Generator = frozen.generator(rule.generate)
        self._lock = Lock()
        self._left = rule.generate.max_requests
        self._in_a_row = 0
        self._stopped = Event()
        self._claimed: set[str] = set()
        self._inputs: dict[int, Inputs] = {}
        self._places: dict[tuple[int, int], int] = {}

    def run(self, mine: list[Question]) -> None:
        if self._left is not None and self._left < len(mine):
            # From another place each night: prompts that fail must not be the only ones that are ever asked.
            start = randrange(len(mine))  # noqa: S311 (no secret)
            mine = mine[start:] + mine[:start]
        if self._config.with_image:
            self._open_inputs(mine)
        threads = self._generator.concurrency
        # No context: leaving one would wait for answers that are a minute away, and Ctrl-C with it.
        pool = ThreadPoolExecutor(threads, thread_name_prefix="fpve-generate")
        waiting = iter(mine)
        running: set[Future[None]] = {pool.submit(self._ask, one) for one in islice(waiting, 2 * threads)}
        try:
            while running:
                ended, running = wait(running, return_when=FIRST_COMPLETED)
                for future in ended:
                    future.result()
                self._stage.advance(len(ended))
                running |= {pool.submit(self._ask, one) for one in islice(waiting, len(ended))}
        finally:
            # What is answered after that is not written: somebody else may hold the store by then.
            self._stopped.set()
            pool.shutdown(wait=False, cancel_futures=True)
            # A local model's memory is needed by what comes next.
            self._generator.close()

    def _open_inputs(self, mine: list[Question]) -> None:
        for number in {one.plan for one in mine}:
            plan = self._plans[number]
            rows = list(dict.fromkeys(one.row for one in mine if one.plan == number))
            self._places |= {(number, row): place for place, row in enumerate(rows)}
            self._inputs[number] = plan.scan.inputs(plan.files["number"].take(pa.array(rows)).to_numpy())

    def _ask(self, question: Question) -> None:
        """Answer one question, unless it turns out to be answered, the picture to be none, or enough were asked."""
        if self._stopped.is_set() or self._in_a_row >= GIVE_UP:
            return
        content_hash, picture = question.content_hash, None
        if self._config.with_image:
            found = self._picture(question)
            if found is None:
                return
            content_hash, picture = found
        name = self._frozen.name(self._rule, question.prompt, content_hash)
        with self._lock:
            if name in self._frozen or name in self._claimed or self._left == 0:
                return
            self._claimed.add(name)
            if self._left is not None:
                self._left -= 1
        try:
            answer = self._generator.generate(question.prompt, picture)
            row = answer_row(self._generator, question.prompt, content_hash, answer)
        except GenerationError as error:
            if error.is_general:
                raise
            with self._lock:
                self._in_a_row += 1
                self._done.failed += 1
                self._done.first_error = self._done.first_error or error
            return
        if self._stopped.is_set():
            return
        if self._log is not None:
            self._log.append(row)
        self._frozen.add(row)
        with self._lock:
            self._in_a_row = 0
            self._done.answered += 1
            self._done.prompt_tokens += answer.prompt_tokens or 0
            self._done.completion_tokens += answer.completion_tokens or 0

    def _picture(self, question: Question) -> tuple[str, bytes] | None:
        """The content of a question's picture, and a JPEG of it; None if it can't be read, or is no picture.

        Encoding it will say why, and put it into quarantine.
        """
        place = self._places[question.plan, question.row]
        with self._lock:
            # Asked in vain for what max_requests no longer allows, a million pictures would be read.
            if self._left == 0:
                return None
        try:
            data = self._inputs[question.plan].read(place).data
            content_hash = hashlib.sha256(data).hexdigest()
            with self._lock:
                self._done.content[question.plan, question.row] = content_hash
            if self._frozen.name(self._rule, question.prompt, content_hash) in self._frozen:
                return None
            side = self._config.image_side
            return content_hash, images.thumbnail(images.decode(data, enough=side).image, side)
        except (OSError, ImageError):
            return None
