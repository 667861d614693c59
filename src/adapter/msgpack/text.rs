//! JSON text to MessagePack, in two walks over the text: MessagePack tells the length of a container before its
//! contents, so the first walk checks the grammar and counts, and the second one writes.

use bytes::Bytes;

use super::{MAX_DEPTH, Unfit, Writer};
use crate::wire::json::{Event, Events, Kind, NotJson, Placeholder, wtf8};

/// Appends the MessagePack form of `json`, the text of one JSON value, to `out`, which stays as it was on an error.
///
/// With attachments, an object whose `_placeholder` is `true` becomes the attachment that its `num` names, as in
/// `socket.io-parser`, or `null` when it names none; without them it is data. Repeated keys are written as often as they
/// stand there: who decodes keeps the last, as `JSON.parse` does. Lone surrogates are written as UTF-8 would have them,
/// which Node.js servers read as U+FFFD.
pub(crate) fn from_json(json: &str, attachments: &[Bytes], out: &mut Vec<u8>) -> Result<(), Unfit> {
    let shapes = measure(json, attachments.len())?;
    let start = out.len();
    write(json, attachments, shapes, &mut Writer(out)).inspect_err(|_| out.truncate(start))
}

impl From<NotJson> for Unfit {
    fn from(_: NotJson) -> Self {
        Self::NotJson
    }
}

/// What becomes of a container.
#[derive(Debug, Clone, Copy)]
enum Shape {
    Entries(u32),
    /// A placeholder, and which attachment it stands for.
    Attachment(Option<usize>),
}

/// The second walk. The grammar was checked by the first.
fn write(json: &str, attachments: &[Bytes], shapes: Vec<Shape>, writer: &mut Writer<'_>) -> Result<(), Unfit> {
    let mut shapes = shapes.into_iter();
    // Depth of the placeholder whose members are left out.
    let mut hidden = None;
    let mut events = Events::new(json);
    while let Some(event) = events.next() {
        match event? {
            Event::Open(kind) => {
                let shape = shapes.next().ok_or(Unfit::NotJson)?;
                match shape {
                    _ if hidden.is_some() => {}
                    Shape::Attachment(num) => {
                        match num.and_then(|num| attachments.get(num)) {
                            Some(attachment) => writer.bin(attachment)?,
                            None => writer.nil()?,
                        }
                        hidden = Some(events.depth());
                    }
                    Shape::Entries(length) if kind == Kind::List => writer.array(length as usize)?,
                    Shape::Entries(length) => writer.map(length as usize)?,
                }
            }
            Event::Close(_) => hidden = hidden.filter(|at| *at <= events.depth()),
            _ if hidden.is_some() => {}
            Event::Key(raw) | Event::Text(raw) => writer.text(&wtf8(raw))?,
            Event::Number(text) => writer.number(text)?,
            Event::Bool(value) => writer.bool(value)?,
            Event::Null => writer.nil()?,
        }
    }
    Ok(())
}

/// A container whose end has not come.
#[derive(Debug)]
struct Open {
    kind: Kind,
    /// Its place among the shapes.
    shape: usize,
    length: usize,
    placeholder: Placeholder,
}

/// The first walk: the shapes of the containers, in the order in which they open.
fn measure(json: &str, attachments: usize) -> Result<Vec<Shape>, Unfit> {
    let (mut shapes, mut open): (Vec<Shape>, Vec<Open>) = (Vec::new(), Vec::new());
    for event in Events::new(json) {
        let event = event?;
        if let Event::Close(_) = event {
            let closed = open.pop().ok_or(Unfit::NotJson)?;
            let shape = match closed.placeholder.is_one() {
                true => Shape::Attachment(closed.placeholder.attachment(attachments)),
                false => Shape::Entries(u32::try_from(closed.length).map_err(|_| Unfit::TooLong)?),
            };
            if let Some(place) = shapes.get_mut(closed.shape) {
                *place = shape;
            }
            continue;
        }
        if let Some(around) = open.last_mut() {
            match event {
                Event::Key(raw) => {
                    around.length += 1;
                    if attachments > 0 {
                        around.placeholder.key(raw);
                    }
                }
                value => {
                    around.length += usize::from(around.kind == Kind::List);
                    around.placeholder.value(value);
                }
            }
        }
        if let Event::Open(kind) = event {
            if open.len() >= MAX_DEPTH {
                return Err(Unfit::TooDeep);
            }
            open.push(Open {
                kind,
                shape: shapes.len(),
                length: 0,
                placeholder: Placeholder::default(),
            });
            shapes.push(Shape::Entries(0));
        }
    }
    Ok(shapes)
}

#[cfg(test)]
mod tests;
