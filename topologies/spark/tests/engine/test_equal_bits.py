"""Ten thousand rows through a transform that learns, on Spark and on this machine: the same bits."""

import os
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet
from batch_files import job, read_output
from weather_rows import ROWS, SEED, bits_of, by_batch, random_rows, weather_bundle

from millrace.serving.loading import load
from millrace_batch.adapters.spark import Cluster
from millrace_batch.app import Resources, run_job

CONF = {"spark.ui.enabled": "false", "spark.log.level": "ERROR"}


def test_s44_ten_thousand_rows_have_equal_bits_on_spark(tmp_path: Path) -> None:
    table, source, out = random_rows(ROWS, seed=SEED), tmp_path / "rows.parquet", tmp_path / "out"
    pyarrow.parquet.write_table(table, source, row_group_size=1_000)
    bundle = weather_bundle(tmp_path / "bundle", table)
    model = load(bundle)
    expected = by_batch(model, table)
    model.close()
    cluster = Cluster(os.environ["MILLRACE_SPARK_PYTHON"], "local-cluster[2,1,1024]", CONF)
    description = job(bundle, source, out, split_rows=3_000)
    done = run_job(replace(description, keep=()), Resources(bundle.directory, cluster=cluster))
    assert bits_of(read_output(out, by="source_row")) == expected
    assert (done.read, done.scored) == (ROWS, len(expected))
    assert done.refused > 0
    assert done.filtered > 0
