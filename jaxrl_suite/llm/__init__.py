"""Language models behind one protocol: a transformer, servers, recordings; and the sandbox for what they write.

`protocol` says what a sampler is; `transformer_sampler` (on `model`, `decode`, `weights`), `http_sampler`, `tabular`
and `recorder` are the four. `ledger` counts and stops, `lockstep` advances many algorithms together, `train` and `lora`
fit weights, `sandbox`, `programs` and `export` run written code. Names are imported when they are first used.

Example, after `jaxrl-suite fetch smollm2`:
    model = llm.load("smollm2")
    sampler = llm.TransformerSampler(model.name, model.config, model.params, tokenizer=model.tokenizer)
    question = (llm.Message("user", "What is the capital of France?"),)
    (reply,) = sampler.sample([llm.Request(question, num_samples=4)])
    print([completion.text for completion in reply.completions], reply.usage)

The same with a server: `sampler = llm.HTTPSampler(llm.HTTPConfig("http://127.0.0.1:8080/v1", "my-model"))`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from jaxrl_suite.envs.lazy import lazy_names

if TYPE_CHECKING:
    from jaxrl_suite.llm.export import EXPORT as EXPORT
    from jaxrl_suite.llm.export import ExportRequest as ExportRequest
    from jaxrl_suite.llm.export import export_functions as export_functions
    from jaxrl_suite.llm.exported import ExportedFunction as ExportedFunction
    from jaxrl_suite.llm.http_config import HTTPConfig as HTTPConfig
    from jaxrl_suite.llm.http_config import HTTPLimits as HTTPLimits
    from jaxrl_suite.llm.http_sampler import HTTPSampler as HTTPSampler
    from jaxrl_suite.llm.jobs import Job as Job
    from jaxrl_suite.llm.jobs import Outcome as Outcome
    from jaxrl_suite.llm.ledger import Budget as Budget
    from jaxrl_suite.llm.ledger import BudgetExhaustedError as BudgetExhaustedError
    from jaxrl_suite.llm.ledger import Ledger as Ledger
    from jaxrl_suite.llm.lm_config import LMConfig as LMConfig
    from jaxrl_suite.llm.lm_config import preset as preset
    from jaxrl_suite.llm.lockstep import run_lockstep as run_lockstep
    from jaxrl_suite.llm.programs import Case as Case
    from jaxrl_suite.llm.programs import Check as Check
    from jaxrl_suite.llm.programs import Program as Program
    from jaxrl_suite.llm.programs import run_programs as run_programs
    from jaxrl_suite.llm.protocol import Capabilities as Capabilities
    from jaxrl_suite.llm.protocol import Completion as Completion
    from jaxrl_suite.llm.protocol import Decoding as Decoding
    from jaxrl_suite.llm.protocol import Message as Message
    from jaxrl_suite.llm.protocol import Reply as Reply
    from jaxrl_suite.llm.protocol import Request as Request
    from jaxrl_suite.llm.protocol import Sampler as Sampler
    from jaxrl_suite.llm.protocol import Usage as Usage
    from jaxrl_suite.llm.protocol import require as require
    from jaxrl_suite.llm.questions import Sample as Sample
    from jaxrl_suite.llm.questions import Verdicts as Verdicts
    from jaxrl_suite.llm.questions import Verify as Verify
    from jaxrl_suite.llm.recorder import Recorder as Recorder
    from jaxrl_suite.llm.recorder import Replay as Replay
    from jaxrl_suite.llm.recording import Recording as Recording
    from jaxrl_suite.llm.sandbox import Limits as Limits
    from jaxrl_suite.llm.sandbox import Sandbox as Sandbox
    from jaxrl_suite.llm.sandbox import Verdict as Verdict
    from jaxrl_suite.llm.tabular import TabularSampler as TabularSampler
    from jaxrl_suite.llm.tokenizer import Tokenizer as Tokenizer
    from jaxrl_suite.llm.transformer_sampler import SamplerConfig as SamplerConfig
    from jaxrl_suite.llm.transformer_sampler import TransformerSampler as TransformerSampler
    from jaxrl_suite.llm.weights import load as load
    from jaxrl_suite.llm.weights import save_safetensors as save_safetensors

_HOME = {
    "Budget": "ledger",
    "BudgetExhaustedError": "ledger",
    "Capabilities": "protocol",
    "Case": "programs",
    "Check": "programs",
    "Completion": "protocol",
    "Decoding": "protocol",
    "EXPORT": "export",
    "ExportRequest": "export",
    "ExportedFunction": "exported",
    "HTTPConfig": "http_config",
    "HTTPLimits": "http_config",
    "HTTPSampler": "http_sampler",
    "Job": "jobs",
    "LMConfig": "lm_config",
    "Ledger": "ledger",
    "Limits": "sandbox",
    "Message": "protocol",
    "Outcome": "jobs",
    "Program": "programs",
    "Recorder": "recorder",
    "Recording": "recording",
    "Replay": "recorder",
    "Reply": "protocol",
    "Request": "protocol",
    "Sample": "questions",
    "Sampler": "protocol",
    "SamplerConfig": "transformer_sampler",
    "Sandbox": "sandbox",
    "TabularSampler": "tabular",
    "Tokenizer": "tokenizer",
    "TransformerSampler": "transformer_sampler",
    "Usage": "protocol",
    "Verdict": "sandbox",
    "Verdicts": "questions",
    "Verify": "questions",
    "export_functions": "export",
    "load": "weights",
    "preset": "lm_config",
    "require": "protocol",
    "run_lockstep": "lockstep",
    "run_programs": "programs",
    "save_safetensors": "weights",
}

__all__ = [
    "EXPORT",
    "Budget",
    "BudgetExhaustedError",
    "Capabilities",
    "Case",
    "Check",
    "Completion",
    "Decoding",
    "ExportRequest",
    "ExportedFunction",
    "HTTPConfig",
    "HTTPLimits",
    "HTTPSampler",
    "Job",
    "LMConfig",
    "Ledger",
    "Limits",
    "Message",
    "Outcome",
    "Program",
    "Recorder",
    "Recording",
    "Replay",
    "Reply",
    "Request",
    "Sample",
    "Sampler",
    "SamplerConfig",
    "Sandbox",
    "TabularSampler",
    "Tokenizer",
    "TransformerSampler",
    "Usage",
    "Verdict",
    "Verdicts",
    "Verify",
    "export_functions",
    "load",
    "preset",
    "require",
    "run_lockstep",
    "run_programs",
    "save_safetensors",
]

__getattr__ = lazy_names(__name__, _HOME)
