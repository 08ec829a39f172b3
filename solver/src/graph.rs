//! The graph: an append-only arena of vertices. An input must exist before it is used, so there can be no cycle.

/// Names a vertex of one graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct VertexId(u32);

impl VertexId {
    pub(crate) fn at(index: usize) -> VertexId {
        VertexId(index as u32)
    }

    /// The place of the vertex in its graph, counted from 0.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// An op with its inputs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vertex<Op> {
    /// The operation, as plain data.
    pub op: Op,
    /// The inputs; the op names its inputs by their place here.
    pub inputs: Vec<VertexId>,
    /// The name that the user sees (`[build 2/4] RUN make`). Never part of a key.
    pub name: String,
    /// The stage it stands in, for `--no-cache-filter`. Never part of a key.
    pub stage: String,
    /// First and last line of the Dockerfile that asked for it. Never part of a key.
    pub lines: Option<(u32, u32)>,
}

/// Vertices in the order in which they were pushed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Graph<Op> {
    vertices: Vec<Vertex<Op>>,
}

impl<Op> Default for Graph<Op> {
    fn default() -> Self {
        Graph { vertices: Vec::new() }
    }
}

impl<Op> Graph<Op> {
    /// Adds a vertex. Panics if an input is not in this graph: that is a bug of the caller, not of its input.
    pub fn push(&mut self, vertex: Vertex<Op>) -> VertexId {
        let id = VertexId(u32::try_from(self.vertices.len()).expect("fewer than 2^32 vertices"));
        assert!(vertex.inputs.iter().all(|input| input.0 < id.0), "BUG: an input must be pushed first");
        self.vertices.push(vertex);
        id
    }

    /// The vertex behind an id of this graph.
    pub fn get(&self, id: VertexId) -> &Vertex<Op> {
        &self.vertices[id.index()]
    }

    /// How many vertices there are.
    pub fn len(&self) -> usize {
        self.vertices.len()
    }

    /// True if nothing was pushed yet.
    pub fn is_empty(&self) -> bool {
        self.vertices.is_empty()
    }

    /// All vertices, inputs before their users.
    pub fn iter(&self) -> impl Iterator<Item = (VertexId, &Vertex<Op>)> {
        self.vertices.iter().enumerate().map(|(at, vertex)| (VertexId(at as u32), vertex))
    }
}
