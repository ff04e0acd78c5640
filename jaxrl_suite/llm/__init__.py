"""Language models behind one protocol: a transformer, servers, recordings.

`protocol` says what a sampler is; `transformer.sampler` (on `model`, `decode`, `weights`), `http.sampler`, `tabular`
and `recorder` are the four. `ledger` counts and stops, `lockstep` advances many algorithms together;
`transformer.generate` samples and `transformer.train` fits weights to any loss inside one program, `transformer.lora`
an adapter. Names are imported when they are first used.

Example, after `jaxrl-suite fetch smollm2`:
    model = llm.load("smollm2")
    sampler = llm.TransformerSampler(model.name, model.config, model.params, tokenizer=model.tokenizer)
    question = (llm.Message("user", "What is the capital of France?"),)
    (reply,) = sampler.sample([llm.Request(question, num_samples=4)])
    print([completion.text for completion in reply.completions], reply.usage)

The same with a server: `sampler = llm.HTTPSampler(llm.HTTPConfig("http://127.0.0.1:8080/v1", "my-model"))`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
