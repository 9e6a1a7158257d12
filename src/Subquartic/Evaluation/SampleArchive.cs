using System.IO.Compression;
using System.Text;
using Subquartic.Files;

namespace Subquartic.Evaluation;

/// <summary>Writes samples as the <c>.npz</c> file that the field's evaluator reads (guided-diffusion evaluations/evaluator.py): one array
/// <c>arr_0</c> of bytes, (N, H, W, 3).</summary>
public static class SampleArchive
{
    private const int HeaderAlignment = 64; // of the data in a .npy file

    /// <summary>Writes the file, picture by picture.</summary>
    /// <param name="path">The file; written to a temporary one and moved.</param>
    /// <param name="count">Number of pictures.</param>
    /// <param name="height">Rows of each.</param>
    /// <param name="width">Columns of each.</param>
    /// <param name="read">Writes picture i, height x width x 3 bytes; called in order.</param>
    /// <exception cref="IOException">The file cannot be written.</exception>
    public static void Write(string path, int count, int height, int width, Action<int, Span<byte>> read)
    {
        ArgumentNullException.ThrowIfNull(read);
        AtomicFile.Write(path, stream =>
        {
            using var archive = new ZipArchive(stream, ZipArchiveMode.Create, leaveOpen: true);
            ZipArchiveEntry entry = archive.CreateEntry("arr_0.npy", CompressionLevel.NoCompression);
            entry.LastWriteTime = new DateTimeOffset(1980, 1, 1, 0, 0, 0, TimeSpan.Zero); // the same samples give the same bytes
            using Stream array = entry.Open();
            array.Write(Header(count, height, width));
            byte[] picture = new byte[height * width * 3];
            for (int i = 0; i < count; i++)
            {
                read(i, picture);
                array.Write(picture);
            }
        });
    }

    // Magic, version 1.0, length, then a Python literal padded with spaces so that the data is aligned (NEP 1).
    private static byte[] Header(int count, int height, int width)
    {
        string text = $"{{'descr': '|u1', 'fortran_order': False, 'shape': ({count}, {height}, {width}, 3), }}";
        const int fixedLength = 10;
        int length = (fixedLength + text.Length + 1 + HeaderAlignment - 1) / HeaderAlignment * HeaderAlignment - fixedLength;
        return [0x93, .. "NUMPY"u8, 1, 0, (byte)length, (byte)(length >> 8), .. Encoding.ASCII.GetBytes(text.PadRight(length - 1) + "\n")];
    }
}
