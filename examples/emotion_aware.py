"""Answer what a face shows for a while: python -m examples.emotion_aware [VIDEO]   (without a video: the camera)."""

import sys

from fercore import Predictor
from fercore.faces import BlazeFace
from fercore.stream import ExpressionStream

ANSWERS = {"happy": "Good to see you smile!", "sad": "Shall I play some music?", "angry": "Let us take a break."}


def answer(face, old, new):
    """Called when the expression of a face has changed for good."""
    print(f"{face.time:6.1f} s  face {face.id}: {old} -> {new}  {ANSWERS.get(new, '')}", flush=True)


stream = ExpressionStream(Predictor.load(detector=BlazeFace(tiles=False)), on_change=answer)
for _time, _frame, _faces in stream.run(sys.argv[1] if len(sys.argv) > 1 else 0):
    pass  # a place to show the frame and its faces
