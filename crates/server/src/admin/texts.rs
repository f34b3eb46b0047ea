//! What the pages say, both languages side by side: no text is there in one alone.

use castoff::launcher::messages;

use crate::Error;

/// A language of the pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lang {
    /// English.
    En,
    /// Simplified Chinese.
    Zh,
}

impl Lang {
    /// All of them, in the order in which they are offered.
    pub(super) const ALL: [Self; 2] = [Self::En, Self::Zh];

    /// As `?lang=` and the cookie name it.
    pub(super) const fn code(self) -> &'static str {
        match self {
            Self::En => "en",
            Self::Zh => "zh",
        }
    }

    /// As HTML names it.
    pub(super) const fn tag(self) -> &'static str {
        match self {
            Self::En => "en",
            Self::Zh => "zh-CN",
        }
    }

    /// As whoever speaks it calls it.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::En => "English",
            Self::Zh => "中文",
        }
    }

    /// What the pages say in it.
    pub(super) const fn texts(self) -> &'static Texts {
        match self {
            Self::En => &EN,
            Self::Zh => &ZH,
        }
    }

    /// The language of a tag such as `en`, `zh-CN` or `zh-Hans-CN`.
    pub(super) fn of_tag(tag: &str) -> Option<Self> {
        let language = tag.trim().split('-').next().unwrap_or_default();
        Self::ALL
            .into_iter()
            .find(|it| it.code().eq_ignore_ascii_case(language))
    }

    /// The one of an `Accept-Language` that is liked best; English when it names neither.
    pub(super) fn accepted(header: &str) -> Self {
        match messages::Lang::accepted(header) {
            messages::Lang::En => Self::En,
            messages::Lang::ZhCn => Self::Zh,
        }
    }
}

macro_rules! texts {
    ($($name:ident: $en:literal, $zh:literal;)*) => {
        /// What the pages say, in one language. Words in braces are replaced.
        pub(super) struct Texts { $(pub(super) $name: &'static str,)* }

        static EN: Texts = Texts { $($name: $en,)* };
        static ZH: Texts = Texts { $($name: $zh,)* };

        #[cfg(test)]
        const TABLE: &[(&str, &str, &str)] = &[$((stringify!($name), $en, $zh),)*];
    };
}

texts! {
    // Everywhere
    language: "Language", "语言";
    navigation: "Pages", "页面";
    apps: "Apps", "应用";
    tokens: "Tokens", "令牌";
    audit: "Audit", "操作记录";
    sign_out: "Sign out", "退出登录";
    save: "Save", "保存";
    cancel: "Cancel", "取消";
    none: "none", "无";
    role_read: "read", "读取";
    role_publish: "publish", "发布";
    role_admin: "admin", "管理";

    // Signing in
    sign_in: "Sign in", "登录";
    token: "Token", "令牌";
    token_hint: "One of the role publish or admin. The first is made by: castoff serve token add NAME --role admin", "权限须为“发布”或“管理”。第一个令牌的生成命令：castoff serve token add NAME --role admin";
    signed_out: "You have signed out.", "已退出登录。";

    // Apps
    no_apps: "There is no app yet.", "还没有应用。";
    no_apps_admin: "There is no app yet. Add the first one.", "还没有应用，请添加第一个。";
    add_app: "Add an app", "添加应用";
    change_app: "Change this app", "修改应用";
    key: "Identifier", "标识";
    key_hint: "The app of launcher.toml, such as com.example.client. It cannot be changed later.", "即 launcher.toml 中的 app，例如 com.example.client。添加后不能更改。";
    name: "Name", "名称";
    description: "Description", "简介";
    enable_time: "Available from", "开始提供更新的时间";
    enable_time_hint: "In UTC. Empty: not yet.", "UTC 时间。留空表示暂不提供。";
    disable_time: "Available until", "停止提供更新的时间";
    disable_time_hint: "In UTC. Empty: without end.", "UTC 时间。留空表示一直提供。";
    available: "available", "提供中";
    not_available: "not available", "未提供";
    not_available_hint: "Launchers are told that there is no such app, because of the times that are set.", "按所设的时间，目前不向启动器提供此应用的更新。";
    current_version: "Current", "当前版本";
    app_added: "The app was added.", "应用已添加。";
    app_changed: "The app was changed.", "应用已修改。";

    // An app
    channels: "Current in each channel", "各渠道的当前版本";
    channel: "Channel", "渠道";
    version: "Version", "版本";
    rollout: "Rollout", "灰度比例";
    rollout_hint: "Per cent of installations.", "收到此版本的用户百分比。";
    index: "Signed index", "已签名索引";
    index_number: "no. {number}", "第 {number} 号";
    no_channels: "No release is current. Launchers are told that there is nothing new.", "目前没有当前版本，启动器会被告知没有更新。";
    releases: "Releases", "版本";
    no_releases: "There is no release yet. Upload the first package.", "还没有版本，请上传第一个安装包。";
    upload: "Upload a package", "上传安装包";
    state: "State", "状态";
    size: "Size", "大小";
    downloads: "Downloads", "下载次数";
    created: "Published", "发布时间";
    current_in: "current in {channel}", "{channel} 的当前版本";
    current_in_part: "current in {channel}, {rollout} %", "{channel} 的当前版本，灰度 {rollout}%";
    deactivated: "deactivated", "已停用";
    withdrawn: "withdrawn", "已撤回";
    not_current: "not current", "非当前版本";

    // Uploading
    file: "Package", "安装包";
    file_hint: "A zip or tar, of {limit} at most.", "zip 或 tar 格式，不超过 {limit}。";
    version_hint: "Such as 1.2.0. It cannot be changed later.", "例如 1.2.0。上传后不能更改。";
    target: "Machines", "适用平台";
    target_hint: "any, or one kind such as windows-x86_64.", "any 表示所有平台，也可以是 windows-x86_64 等某一种。";
    entry_point: "Entry point", "入口程序";
    entry_point_hint: "What is started. Empty: what the launcher is configured with.", "要启动的程序。留空则使用启动器自身的配置。";
    notes: "What is new", "更新说明";
    notes_hint: "Plain text. People see it before they update.", "纯文本，用户在更新前会看到。";
    critical_below: "Critical below", "低于此版本须立即更新";
    critical_below_hint: "Versions lower than this one are not safe to go on with.", "填写版本号：低于它的旧版本不宜继续使用。";
    activate_at_once: "Make it current at once", "上传后立即设为当前版本";
    upload_button: "Upload", "上传";
    uploading: "Upload", "上传进度";
    checking: "It has arrived. It is being unpacked and checked.", "已上传完毕，正在解压并检查。";
    broken_off: "The connection broke off. Try again.", "连接中断，请重试。";
    too_large: "This file is larger than this server takes.", "此文件超过服务器允许的大小。";
    cancelled: "The upload was cancelled.", "已取消上传。";
    no_file: "no package was chosen", "未选择安装包";
    published: "The package was published.", "安装包已发布。";
    published_already: "This very package was there already.", "完全相同的安装包已经存在。";

    // A release
    packages: "Packages", "安装包";
    sha256: "SHA-256", "SHA-256";
    edit: "What is said of it", "版本信息";
    edited: "It was saved.", "已保存。";
    activate: "Make it current", "设为当前版本";
    activate_hint: "Launchers of the channel are offered it from then on, instead of what is current there now.", "此后，该渠道的启动器会收到此版本，而不是那里现在的当前版本。";
    activated: "It is current now.", "已设为当前版本。";
    cannot_activate: "It was withdrawn, and never becomes current again. Publish a higher version.", "此版本已撤回，不能再设为当前版本。请发布更高的版本。";
    cannot_activate_yet: "It is deactivated. Enable it first.", "此版本已停用，请先启用。";
    more: "Take out of use", "停止使用";
    deactivate: "Deactivate", "停用";
    deactivate_hint: "It cannot become current until it is enabled again.", "停用后不能设为当前版本，可随时重新启用。";
    enable: "Enable", "启用";
    enable_hint: "Then it can become current again.", "启用后可以重新设为当前版本。";
    release_deactivated: "It is deactivated.", "已停用。";
    release_enabled: "It is enabled.", "已启用。";
    withdraw: "Withdraw", "撤回";
    withdraw_hint: "For a version that does harm: it is never installed again.", "用于有严重问题的版本：不会再被安装。";
    withdraw_title: "Withdraw {version}?", "撤回 {version}？";
    withdraw_what: "It is never installed again, anywhere. This cannot be undone.", "此版本在任何地方都不会再被安装。此操作无法撤消。";
    withdraw_current: "It is current in {channels}. There the highest older version that was current before becomes so again.", "它是 {channels} 的当前版本。撤回后，那里曾经的当前版本中低于它的最高版本会重新成为当前版本。";
    release_withdrawn: "It was withdrawn.", "已撤回。";
    delete: "Delete", "删除";
    delete_hint: "Release and packages go from this server.", "从服务器上删除此版本及其安装包。";
    delete_title: "Delete {version}?", "删除 {version}？";
    delete_what: "The release and its packages go from this server. This cannot be undone.", "此版本及其安装包将从服务器上删除。此操作无法撤消。";
    delete_withdraw: "If it does harm where it is installed, withdraw it instead.", "如果它在用户那里有严重问题，请改用撤回。";
    release_deleted: "It was deleted.", "已删除。";
    only_elsewhere: "It is current in {channels}. To deactivate or delete it, make another version current there first.", "它是 {channels} 的当前版本。要停用或删除它，请先在那里把其他版本设为当前版本。";

    // Tokens
    role: "Role", "权限";
    made: "Made", "生成时间";
    make_token: "Make a token", "生成令牌";
    token_name_hint: "Whose it is, or what for: the audit names it.", "说明归谁使用或用途，操作记录中会显示。";
    role_read_hint: "fetch, where this server asks for a token", "下载（仅当服务器要求令牌时需要）";
    role_publish_hint: "publish releases, and say which is current", "发布版本，并设置当前版本";
    role_admin_hint: "also apps and tokens", "另可管理应用和令牌";
    token_made: "The token of {name}", "{name} 的令牌";
    token_once: "Copy it now: it is shown this once, and kept nowhere.", "请立即复制：令牌只显示这一次，不会保存在任何地方。";
    token_copied: "Back to the tokens", "返回令牌列表";
    valid: "valid", "有效";
    revoked: "revoked {time}", "已于 {time} 吊销";
    revoke: "Revoke", "吊销";
    revoke_title: "Revoke the token of {name}?", "吊销 {name} 的令牌？";
    revoke_what: "Whoever uses it is refused from then on, and signed out. This cannot be undone.", "此后使用它的人或程序将被拒绝，并退出登录。此操作无法撤消。";
    revoke_own: "It is the token that you have signed in with.", "这正是您登录所用的令牌。";
    token_revoked: "The token was revoked.", "令牌已吊销。";

    // The audit
    audit_hint: "The last {count} changes, the newest first.", "最近的 {count} 次更改，最新的在前。";
    no_audit: "Nothing was changed yet.", "还没有任何更改。";
    time: "Time", "时间";
    who: "Who", "操作者";
    what: "What", "操作";
    app: "App", "应用";
    detail: "Detail", "详情";

    // Errors, by their kind
    error_request: "What was entered cannot be used.", "填写的内容无法使用。";
    error_not_found: "There is nothing here.", "这里没有内容。";
    error_token_missing: "You are not signed in, or no longer.", "您尚未登录，或登录已过期。";
    error_token_invalid: "This token is not known here, or was revoked.", "令牌无效或已被吊销。";
    error_role: "Your token does not allow this.", "您的令牌没有此权限。";
    error_form: "This form was not sent from its own page. Open the page again.", "此表单不是从本站页面提交的。请重新打开页面再试。";
    error_too_many: "Too many wrong tokens came from your address. Wait a little.", "来自您地址的错误令牌过多，请稍后再试。";
    error_conflict: "It does not fit with what is there.", "与现有内容冲突。";
    error_version_exists: "This version is there already, with another package.", "此版本已存在，且安装包不同。";
    error_index: "The signed index does not allow it.", "已签名索引不允许此操作。";
    error_too_large: "That is more than this server takes.", "超过了服务器允许的大小。";
    error_package: "Launchers would refuse this package.", "启动器会拒绝此安装包。";
    error_document: "Launchers would refuse this document.", "启动器会拒绝此文档。";
    error_disk_full: "The server's disk is full.", "服务器磁盘已满。";
    error_server: "The server could not do it.", "服务器未能完成操作。";
}

impl Texts {
    /// What is said on the page that follows after something was done, by the name of the text.
    pub(super) fn done(&self, name: &str) -> Option<&'static str> {
        Some(match name {
            "signed_out" => self.signed_out,
            "app_added" => self.app_added,
            "app_changed" => self.app_changed,
            "published" => self.published,
            "published_already" => self.published_already,
            "edited" => self.edited,
            "activated" => self.activated,
            "release_enabled" => self.release_enabled,
            "release_deactivated" => self.release_deactivated,
            "release_withdrawn" => self.release_withdrawn,
            "release_deleted" => self.release_deleted,
            "token_revoked" => self.token_revoked,
            _ => return None,
        })
    }

    /// What is said of an error before its own words, which are English.
    pub(super) const fn of(&self, error: &Error) -> &'static str {
        match error {
            Error::Request(_) => self.error_request,
            Error::NotFound(_) => self.error_not_found,
            Error::TokenMissing => self.error_token_missing,
            Error::TokenInvalid => self.error_token_invalid,
            Error::RoleMissing(_) => self.error_role,
            Error::FormInvalid => self.error_form,
            Error::TooMany(_) => self.error_too_many,
            Error::Conflict(_) => self.error_conflict,
            Error::VersionExists(_) => self.error_version_exists,
            Error::IndexOld(_) | Error::IndexNeeded(_) => self.error_index,
            Error::TooLarge(_) => self.error_too_large,
            Error::PackageInvalid(_) => self.error_package,
            Error::DocumentInvalid(_) => self.error_document,
            Error::DiskFull(_) => self.error_disk_full,
            Error::Database(_) | Error::Store(_) | Error::Internal(_) => self.error_server,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn placeholders(text: &str) -> Vec<&str> {
        let names = text.split('{').skip(1);
        let mut names: Vec<_> = names.filter_map(|it| it.split('}').next()).collect();
        names.sort_unstable();
        names
    }

    #[test]
    fn no_text_is_missing() {
        // Names that are the same in both languages.
        const SAME: [&str; 1] = ["sha256"];
        for (name, en, zh) in TABLE {
            let is_chinese = zh.chars().any(|c| ('\u{4e00}'..='\u{9fff}').contains(&c));
            assert!(!en.is_empty() && en.is_ascii(), "{name}: {en}");
            assert!(
                is_chinese || SAME.contains(name) && zh == en,
                "{name}: {zh}"
            );
            assert_eq!(placeholders(en), placeholders(zh), "{name}");
        }
    }

    #[test]
    fn the_language_that_is_liked_best_is_taken() {
        for (header, lang) in [
            ("", Lang::En),
            ("fr", Lang::En),
            ("zh-CN,zh;q=0.9,en;q=0.8", Lang::Zh),
            ("en-GB,zh;q=0.9", Lang::En),
            ("en;q=0.5, zh-Hans-CN;q=0.7", Lang::Zh),
            ("fr-FR, ZH-tw;q=0.2", Lang::Zh),
            ("zh;q=0", Lang::En),
            ("zh;q=x;;,,", Lang::En),
            ("zhx", Lang::En),
        ] {
            assert_eq!(Lang::accepted(header), lang, "{header}");
        }
    }
}
