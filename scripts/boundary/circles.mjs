// Circles in a graph of files.

/**
 * The shortest circle through each knot of files that lead to each other, as lists of files. `files` maps a file to
 * `{ uses }`.
 */
export function circles(files) {
  const left = new Set(files.keys());
  const found = [];
  for (const start of files.keys()) {
    if (!left.has(start)) continue;
    const circle = shortestCircle(files, start, left);
    if (circle === undefined) continue;
    found.push(circle);
    circle.forEach((file) => left.delete(file));
  }
  return found;
}

/** From `start` back to it, breadth first, over the files of `left`. */
function shortestCircle(files, start, left) {
  const cameFrom = new Map();
  let edge = [start];
  while (edge.length > 0) {
    const next = [];
    for (const file of edge) {
      for (const used of files.get(file)?.uses ?? []) {
        if (used === start) return pathTo(cameFrom, file, start);
        if (!left.has(used) || cameFrom.has(used)) continue;
        cameFrom.set(used, file);
        next.push(used);
      }
    }
    edge = next;
  }
  return undefined;
}

function pathTo(cameFrom, end, start) {
  const path = [end];
  while (path[0] !== start) path.unshift(cameFrom.get(path[0]));
  return path;
}
