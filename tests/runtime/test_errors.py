"""Errors of torch, NCCL and the machine in one line each."""

import pytest
import torch

from dbnet.errors import InputError, is_lost_rank, is_out_of_memory, one_line


class DistBackendError(RuntimeError):
    """The error of torch.distributed for NCCL."""


class DistNetworkError(RuntimeError):
    """The error of torch.distributed for its store."""


class OutOfMemoryError(RuntimeError):
    """The error of torch for CUDA."""


LOST = [
    RuntimeError("[/gloo/transport/tcp/pair.cc:534] Connection closed by peer [127.0.0.1]:9"),
    DistBackendError(
        "NCCL error in: ProcessGroupNCCL.cpp:3690, remote process exited or there was a network "
        "error, NCCL version 2.27.5\nncclRemoteError: A call failed possibly due to a network error"
    ),
    DistBackendError("NCCL communicator was aborted on rank 1."),
    DistBackendError("[Rank 1] Watchdog caught collective operation timeout: WorkNCCL(SeqNum=7)"),
    DistBackendError(
        "[1] is setting up NCCL communicator and retrieving ncclUniqueId from [0] via c10d "
        "key-value store by key '0', but store->get('0') got error: Connection reset by peer"
    ),
]


@pytest.mark.faults("a lost rank, in gloo's and NCCL's words", "one line, rank 0's alone")
@pytest.mark.parametrize("error", LOST, ids=range(len(LOST)))
def test_a_lost_rank_is_known_by_every_engine_s_words(error):
    wrapped = ValueError("in between")
    wrapped.__cause__ = error
    assert is_lost_rank(error) and is_lost_rank(wrapped)
    assert one_line(error) == (
        "another rank has ended; its own line, or torchrun's report, says why"
    )


MEMORY = [
    (OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has"), "recompute"),
    (RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be"), "recompute"),
    (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublas`"), "recompute"),
    (RuntimeError("MPS backend out of memory (MPS allocated: 17.9 GB). Tried to"), "recompute"),
    (MemoryError("Unable to allocate 7.28 TiB for an array"), "--data.num-workers"),
    (RuntimeError("a.png: MemoryError: Unable to allocate"), "--data.num-workers"),
]


@pytest.mark.faults("too little memory, of the GPU or the machine", "one line with what to lower")
@pytest.mark.parametrize(("error", "advice"), MEMORY, ids=range(len(MEMORY)))
def test_too_little_memory_is_one_line_with_what_to_lower(error, advice):
    line = one_line(error)
    assert is_out_of_memory(error) and not is_lost_rank(error)
    assert "\n" not in line and "--data.batch-size" in line and advice in line


def test_memory_that_the_processor_lacks_is_known():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(10**15)
    assert one_line(caught.value).startswith("out of memory: can't allocate memory: you tried")


def test_the_line_has_nccl_s_own_reason():
    error = DistBackendError(
        "NCCL error in: NCCLUtils.cpp:77, invalid usage, NCCL version 2.27.5\nncclInvalidUsage: "
        "This usually reflects invalid usage.\nLast error:\nDuplicate GPU detected : rank 1 and "
        "rank 0 both on CUDA device 1000\nException raised from create at NCCLUtils.cpp:77"
    )
    line = one_line(error)
    assert line.startswith("NCCL: Duplicate GPU detected : rank 1 and rank 0") and "\n" not in line


@pytest.mark.faults("a machine that torchrun cannot reach", "one line")
def test_ranks_that_do_not_reach_each_other_are_one_line():
    error = DistNetworkError("The client socket has timed out after 60000ms while connecting")
    assert one_line(error).startswith("the ranks do not reach each other (The client socket has")


@pytest.mark.faults("torch.compile without a compiler", "one line")
def test_a_missing_compiler_is_one_line():
    error = RuntimeError("No working C++ compiler found in torch._inductor.config.cpp.cxx: (None,)")
    assert "--train.compile" in one_line(error)


def test_errors_of_workers_have_no_traceback_in_their_line():
    sent = InputError(
        "Caught InputError in DataLoader worker process 0.\nOriginal Traceback (most recent call "
        'last):\n  File "x.py"\ndbnet.errors.InputError: a.png: empty file'
    )
    assert one_line(sent) == "a.png: empty file"
    assert one_line(OSError(24, "Too many open files", "a.png")) == "a.png: Too many open files"


def test_an_error_of_the_program_keeps_its_traceback():
    assert one_line(RuntimeError("index out of range")) is None
    assert one_line(TypeError("CUDA")) is None
