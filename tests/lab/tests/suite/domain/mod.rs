//! A domain that is set up with `hedwig-postoffice init`, and looked at by `hedwig-postoffice doctor`.

mod broken;
mod doctor;
mod init;
mod site;
