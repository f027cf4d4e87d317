"""Annotation formats: a file for each, which reads it into the same plain entries.

A format's module has two names:

    PLACES                 where a split's annotations may lie below the root
    read(source, found)    its entries, one image at a time: a large split need not fit in memory

`read` raises InputError where a file as a whole makes no sense. What is wrong with one image or one
text goes to `found.problems`, so that one pass finds everything. A reader takes coordinates and
texts as they are written: checks of images, names and outlines are shared (checks.py).

Text files are UTF-8, with or without a byte order mark. Coordinates are in pixels of the upright
image. A transcription `###` marks an illegible text in every format.
"""

from dbnet.data.annotations.formats import coco, icdar, labelme, ufo

FORMATS = {"ufo": ufo, "coco": coco, "icdar": icdar, "labelme": labelme}
