"""ntkit debias: find shortcuts and repair a model."""

from __future__ import annotations

import typer

from ntkit.cli import _options as o

_KEYS = o.KEYS | {
    *("id_column", "match_names", "trust_inputs", "keep_original", "no_input"),
    *("threshold", "max_suppressed", "aggregation", "statistic", "C", "seed"),
}


@o.with_options(_KEYS)
def command(options: o.DebiasOptions, *, context: typer.Context) -> None:
    """Find shortcuts and retrain the last layer.

    ntkit audits the model, asks which findings are shortcuts, and retrains the last layer.

    Example: ntkit debias classifier.onnx images/ -o debiased/

    DATA holds labelled samples that the network was not trained on. ntkit fits, chooses and judges
    by five folds of it. With a training set as well, pass --train and --validation instead.

    Without an answer ntkit writes no new model. It writes a page with the findings, and asks about
    the strongest in the terminal. The answer y means that the model must ignore it.

    With --browser a page asks, with images, and shows each step between the two heads.

    Example: ntkit debias classifier.onnx images/ -o debiased/ --browser

    You can also answer on the saved page, name a shortcut with --spurious, or label single samples
    with ntkit label. You can name a change that must not matter with --invariant, or choose a
    method yourself with --method.

    Example: ntkit debias --from debiased/ --answers answers.json

    ntkit writes a new head only if it is better on samples that the head has not seen: the test
    set, else validation samples. No group that a named shortcut misled may surely lose more than
    --max-cost; if nothing was named, the average. --verbose names all groups that lose accuracy.

    Between the two heads ntkit chooses a share of the new one by validation samples. The report
    lists all shares, and --from debiased/ --interpolation 0.6 writes another one.

    A set is an image folder with one subfolder per class. It can also be an .npz with X and y,
    X.npy next to y.npy, a table (.csv, .tsv, .jsonl, .parquet) of texts or numbers, or an embedding
    store. Groups come from metadata.csv with file_name and group, from an array groups, or from a
    column. ntkit uses them only to report accuracy.

    Without training samples, give complaints: samples that the model gets wrong, with their right
    labels. --keep names unlabelled samples whose answers should stay.

    Example: ntkit debias classifier.onnx complaints/ --keep traffic/ -o debiased/

    Attributes: word:film, column:age>=40, metadata:site=B, word:film|word:movie. Changes:
    image:border, word:film|word:movie, column:sex, append:please, folder:PATH. A change works even
    if no sample breaks the shortcut.

    --answers takes answers.json of a page, several for several people. Instead it takes one file
    of labels of single samples: answers.json of ntkit label, or a table. ntkit infers missing
    labels, and missing groups of --groups. Tables name samples by file_name or id.
    Without names a table has a row for each training sample, then each validation sample.

    --recorded takes the file that ntkit parity takes. --deploy writes the model, its tokenizer or
    preprocessor, the class order, an example program, checksums and a card.

    --settings takes what few need, such as the penalty C and parameters of NeuronTune. OUT holds
    the settings of the run, for the next command.

    Exit codes: 0 decided, 1 the ordered head is not better, 2 an error, 3 questions are open.
    """
    from ntkit.cli._debias_run import run_debias

    run_debias(options, context)
