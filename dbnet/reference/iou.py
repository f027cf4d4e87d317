"""Reference of `IoUMetric`: the ICDAR 2015 protocol as a double loop over Shapely polygons."""

import numpy as np
import shapely


def evaluate(dets, gts, ignored, *, iou_thresh):
    """Counts of one image, by name; `dets` and `gts` are lists of float32 (P, 2).

    A detection is don't care if more than half of it lies on an ignored text. Texts and detections
    are matched in order, each once, if their IoU exceeds `iou_thresh`.
    """
    dets, gts = [region(p) for p in dets], [region(p) for p in gts]
    gt_dc = [g for g in range(len(gts)) if ignored[g]]
    det_dc = []
    for d, det in enumerate(dets):
        for g in gt_dc:
            if det.area > 0 and gts[g].intersection(det).area / det.area > 0.5:
                det_dc.append(d)
                break

    matched = {}
    for g, gt in enumerate(gts):
        for d, det in enumerate(dets):
            if g in gt_dc or d in det_dc or g in matched or d in matched.values():
                continue
            common = gt.intersection(det).area
            union = gt.area + det.area - common
            if union > 0 and common / union > iou_thresh:
                matched[g] = d
    return {
        "num_gt": len(gts) - len(gt_dc),
        "num_gt_dc": len(gt_dc),
        "num_det": len(dets) - len(det_dc),
        "num_det_dc": len(det_dc),
        "num_matched": len(matched),
    }


def region(points):
    """Shapely polygon of the points; crossing outlines are repaired."""
    polygon = shapely.Polygon(np.asarray(points, np.float64))
    if polygon.is_valid:
        return polygon
    parts = shapely.get_parts(shapely.make_valid(polygon))
    return shapely.union_all([part for part in parts if part.area > 0])
