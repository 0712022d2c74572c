"""One reader each. A target has SHARE (of the inputs), ENGINES, prepare(), make() and run().

prepare(corpus) puts into a folder what inputs are made of, once. make() writes one input into the empty `folder` and
returns the rest of it, plain values. run(corpus, folder, case) has the reader read it, with `folder` as the current
folder: UserError is a refusal, a return an acceptance, WrongAnswerError and all else a finding.
"""
