"""One request: accepted at once or refused, answered when all of its snippets have scores."""

import asyncio
import time
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from tsnd.kserve import inference_pb2 as pb
from tsnd_daemon.errors import InvalidRequest
from tsnd_daemon.scheduling.waiting_room import Waiting
from tsnd_daemon.security.callers import current_caller
from tsnd_daemon.services.answers import Answers
from tsnd_daemon.services.deadlines import earlier
from tsnd_daemon.services.kserve.inputs import InputReader
from tsnd_daemon.services.kserve.models import find
from tsnd_daemon.services.kserve.outputs import OutputForm, read_forms, to_message, write_outputs
from tsnd_daemon.services.kserve.parameters import RequestOptions, read_options
from tsnd_daemon.services.kserve.regions import Place
from tsnd_daemon.services.open_calls import OpenCalls
from tsnd_daemon.serving.catalogue import Catalogue
from tsnd_daemon.serving.served_model import ServedModel
from tsnd_daemon.snippets import Snippet
from tsnd_daemon.validation import MAX_ID_LENGTH
from tsnd_daemon.wire.infer_requests import InferRequest, readable

_LARGE_BYTES = 256 * 1024
"""From here on writing to shared memory takes longer than to go to another thread and back,
which is some 50 microseconds; copies of less are done on the event loop."""

_FINAL = "triton_final_response"


@dataclass(frozen=True, slots=True, eq=False)
class Accepted:
    """A request whose snippets have been queued.

    Attributes:
        request_id: Comes back with the response.
        model: What scores it.
        waiting: Its snippets, in the order of its rows.
        forms: How its outputs are wanted.
        options: What else it asks for.
        received_ns: When it began to be read, monotonic.
    """

    request_id: str
    model: ServedModel
    waiting: Sequence[Waiting]
    forms: Sequence[OutputForm]
    options: RequestOptions
    received_ns: int

    @property
    def rows(self) -> int:
        """Its number of snippets."""
        return len(self.waiting)

    async def response(self) -> pb.ModelInferResponse:
        """Wait for the scores of all snippets, and write the response.

        Raises:
            RequestError: When one of them got none; the others are withdrawn.
        """
        try:
            scores = [await waiting.scores for waiting in self.waiting]
        finally:
            self.withdraw()  # what is answered stays so
        outputs = write_outputs(self.forms, scores)
        for output in outputs:
            if output.place is not None:
                await _write(output.data, output.place)
        response = to_message(outputs)
        response.model_name = self.model.manifest.name
        response.model_version = str(self.model.manifest.version)
        response.id = self.request_id
        mark_final(response, self.options)
        return response

    def note_written(self, answers: Answers) -> None:
        """Note where the time of its snippets went, once the response is written."""
        for waiting in self.waiting:
            answers.take(
                self.model,
                waiting.scores.result().execution,
                received_ns=self.received_ns,
                arrived_ns=waiting.enqueued_ns,
            )
        answers.note_written()

    def withdraw(self) -> None:
        """Forget it, before it costs compute if possible."""
        for waiting in self.waiting:
            if not waiting.scores.done() or waiting.scores.cancelled():
                self.model.batcher.withdraw(waiting)
            else:
                waiting.scores.exception()  # else asyncio complains that nobody looked at it


def mark_final(response: pb.ModelInferResponse, options: RequestOptions) -> None:
    """Say that no other response follows, to those that ask."""
    if options.wants_final:
        response.parameters[_FINAL].bool_param = True


@dataclass(frozen=True, slots=True)
class Inference:
    """Accepts requests.

    Attributes:
        catalogue: Of the models that take them.
        calls: Say whether anything is accepted.
        inputs: Reads their inputs.
    """

    catalogue: Catalogue
    calls: OpenCalls
    inputs: InputReader

    def accept(
        self, request: InferRequest, *, stream: Hashable, deadline_ns: int | None
    ) -> Accepted:
        """Queue the snippets of a request.

        Args:
            request: From a client.
            stream: Among whose snippets they keep their order, unless it names a sequence.
            deadline_ns: When its call ends, monotonic; None for never.

        Raises:
            RequestError: When it is refused; nothing of it is queued then.
        """
        self.calls.refuse_new("request")
        message = readable(request)
        where = _describe(message.id)
        model = find(self.catalogue, message.model_name, message.model_version)
        options = read_options(message.parameters, where)
        limit = current_caller().in_flight()
        snippets = self.inputs.read(message, request.raw, model.contract, where)
        forms = read_forms(
            message.outputs, model.manifest, self.inputs.regions, rows=len(snippets), where=where
        )
        if limit is not None:
            limit.check_room(len(snippets))
        waiting = _submit(
            snippets,
            model,
            stream=stream if options.sequence is None else options.sequence,
            priority=options.priority,
            deadline_ns=earlier(deadline_ns, options.timeout_us),
        )
        if limit is not None:
            for each in waiting:
                limit.hold(each.scores)
        return Accepted(message.id, model, waiting, forms, options, request.received_ns)


def _describe(request_id: str) -> str:
    """Name a request, for messages; raises InvalidRequest when its id is too long for them."""
    if len(request_id) > MAX_ID_LENGTH:
        raise InvalidRequest(
            f"request {request_id[:32]!r}...: its id has {len(request_id)} characters, at most "
            f"{MAX_ID_LENGTH} are allowed."
        )
    return f"request {request_id!r}"


def _submit(
    snippets: Sequence[Snippet],
    model: ServedModel,
    *,
    stream: Hashable,
    priority: int,
    deadline_ns: int | None,
) -> list[Waiting]:
    """Queue all of some snippets, or none."""
    accepted, arrived_ns = list[Waiting](), time.monotonic_ns()
    try:
        for snippet in snippets:
            waiting = model.batcher.submit(
                snippet,
                stream=stream,
                priority=priority,
                deadline_ns=deadline_ns,
                arrived_ns=arrived_ns,
            )
            accepted.append(waiting)
    except Exception:
        for waiting in accepted:
            model.batcher.withdraw(waiting)
        raise
    return accepted


async def _write(data: bytes, place: Place) -> None:
    """Write an output to shared memory; raises InvalidSnippet when it is not there any more."""
    if len(data) < _LARGE_BYTES:
        place.region.write(data, place.offset)
    else:
        await asyncio.to_thread(place.region.write, data, place.offset)
