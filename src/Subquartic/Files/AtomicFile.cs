using System.Text;

namespace Subquartic.Files;

/// <summary>Writes files so that a reader, or a run cut short, sees the old file or the whole new one and nothing between.</summary>
public static class AtomicFile
{
    /// <summary>Writes text as UTF-8, in the same way as <see cref="Write"/>.</summary>
    /// <param name="path">The file; replaced when it exists.</param>
    /// <param name="text">Its content.</param>
    /// <exception cref="IOException">The file cannot be written.</exception>
    /// <exception cref="UnauthorizedAccessException">The folder or the file may not be written.</exception>
    public static void WriteText(string path, string text) => Write(path, stream => stream.Write(Encoding.UTF8.GetBytes(text)));

    /// <summary>Writes to a temporary file in the same folder and moves it over <paramref name="path"/> when complete. When
    /// <paramref name="write"/> throws, the temporary file is deleted and an older file stays as it was.</summary>
    /// <param name="path">The file; replaced when it exists.</param>
    /// <param name="write">Writes the content. The stream is seekable.</param>
    /// <exception cref="IOException">The file cannot be written, for instance because the disk is full; the message names it.</exception>
    /// <exception cref="UnauthorizedAccessException">The folder or the file may not be written.</exception>
    public static void Write(string path, Action<Stream> write)
    {
        ArgumentException.ThrowIfNullOrEmpty(path);
        ArgumentNullException.ThrowIfNull(write);
        string temporary = $"{path}.{Guid.NewGuid():N}.tmp";
        try
        {
            using (var stream = new FileStream(temporary, FileMode.CreateNew, FileAccess.Write, FileShare.None))
            {
                write(stream);
            }

            File.Move(temporary, path, overwrite: true);
        }
        catch (Exception error)
        {
            File.Delete(temporary);

            // Nobody knows the temporary file. A limit of the file system on lengths comes as an argument out of range of .NET's own stream.
            string? reason = error is ArgumentOutOfRangeException { ParamName: "value", Source: "System.Private.CoreLib" }
                ? "the file is too large for the file system"
                : error is IOException && error.Message.Contains(temporary, StringComparison.Ordinal)
                    ? error.Message.Replace(temporary, path, StringComparison.Ordinal)
                    : null;
            if (reason is null)
            {
                throw;
            }

            throw new IOException($"{path} could not be written: {reason}", error);
        }
    }
}
