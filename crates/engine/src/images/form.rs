//! The two files of a split image as the form in which they travel, either way.

use std::os::fd::OwnedFd;

use super::{Export, ExportFile};

/// The names of the parts, in their order.
const PARTS: [&str; 2] = ["metadata", "rootfs"];

/// The content of an image in one body, whose size is known.
#[derive(Debug)]
pub struct Form {
    /// What it is: a media type.
    pub content_type: String,
    /// Bytes of all pieces.
    pub size: u64,
    /// One after the other.
    pub pieces: Vec<FormPiece>,
}

/// A piece of a body.
#[derive(Debug)]
pub enum FormPiece {
    /// What stands between files.
    Text(String),
    /// So many bytes of a file.
    File(OwnedFd, u64),
}

impl Export {
    /// One file as it is, or both as parts of a form.
    pub fn into_form(self) -> Form {
        match <[ExportFile; 1]>::try_from(self.files) {
            Ok([file]) => Form {
                content_type: "application/octet-stream".to_owned(),
                size: file.size,
                pieces: vec![FormPiece::File(file.file, file.size)],
            },
            Err(files) => split(files),
        }
    }
}

fn split(files: Vec<ExportFile>) -> Form {
    // Cannot occur in the files but by somebody who knows it beforehand.
    let boundary = format!("{}{}", uuid::Uuid::new_v4().simple(), uuid::Uuid::new_v4().simple());
    let mut form = Form { content_type: format!("multipart/form-data; boundary={boundary}"), size: 0, pieces: Vec::new() };
    for (name, file) in PARTS.into_iter().zip(files) {
        form.text(format!(
            "--{boundary}\r\nContent-Disposition: form-data; name=\"{name}\"; filename=\"{}\"\r\n\
             Content-Type: application/octet-stream\r\n\r\n",
            file.filename
        ));
        form.size += file.size;
        form.pieces.push(FormPiece::File(file.file, file.size));
        form.text("\r\n".to_owned());
    }
    form.text(format!("--{boundary}--\r\n"));
    form
}

impl Form {
    fn text(&mut self, text: String) {
        self.size += text.len() as u64;
        self.pieces.push(FormPiece::Text(text));
    }
}
