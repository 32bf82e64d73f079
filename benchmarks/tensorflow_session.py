"""TensorFlow's session on frozen graphs, for benchmarks.peers; runs in an environment of its own, with TensorFlow.

`python tensorflow_session.py GRAPH...`: then each line `INDEX HEIGHT WIDTH` on stdin is answered by the seconds that
graph INDEX took for a random picture of that size, and `INDEX GIVEN.npy RESULT.npy` by those it took for that one.
"""

import argparse
import sys
import time

import numpy as np


def main() -> None:
    """Load the graphs, then answer."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("graphs", nargs="+", metavar="GRAPH", help="a frozen graph of one input, a .pb file")
    paths = parser.parse_args().graphs
    import tensorflow as tf  # after the flags: --help answers without it

    sessions = []
    for path in paths:
        graph = tf.Graph()
        with graph.as_default(), open(path, "rb") as file:
            definition = tf.compat.v1.GraphDef()
            definition.ParseFromString(file.read())
            tf.import_graph_def(definition, name="")
        inputs = [op for op in graph.get_operations() if op.type == "Placeholder"]
        sessions.append(
            (tf.compat.v1.Session(graph=graph), inputs[0].outputs[0], graph.get_operations()[-1].outputs[0])
        )
    print("tensorflow", tf.__version__, flush=True)
    for line in sys.stdin:
        index, one, other = line.split()
        session, given, wanted = sessions[int(index)]
        if one.isdigit():
            picture = np.random.default_rng(1).uniform(0, 255, (int(one), int(other), 3)).astype(np.float32)
        else:
            picture = np.load(one)
        began = time.perf_counter()
        drawn = session.run(wanted, {given: picture})
        taken = time.perf_counter() - began
        if not one.isdigit():
            np.save(other, drawn)
        print(taken, flush=True)


if __name__ == "__main__":
    main()
