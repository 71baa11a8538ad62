//! What is kept with a connection by those who send on it.

use std::any::Any;
use std::cell::RefCell;
use std::rc::Rc;

/// What APIs keep with a connection from one request to the next: one value of each type.
#[derive(Default)]
pub struct Kept(RefCell<Vec<Rc<dyn Any>>>);

impl Kept {
    /// The value of the type, which is its default the first time.
    pub fn get<T: Default + 'static>(&self) -> Rc<T> {
        let mut values = self.0.borrow_mut();
        let found = values.iter().find(|value| value.is::<T>()).cloned();
        if let Some(Ok(found)) = found.map(Rc::downcast::<T>) {
            return found;
        }
        let value = Rc::<T>::default();
        values.push(value.clone());
        value
    }
}
