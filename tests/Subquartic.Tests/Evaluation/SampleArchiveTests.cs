using System.IO.Compression;
using System.Text;
using Subquartic.Evaluation;

namespace Subquartic.Tests.Evaluation;

public sealed class SampleArchiveTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("subquartic-archive").FullName;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Fact]
    public void Holds_one_array_of_bytes_with_an_aligned_header()
    {
        string path = Path.Combine(_folder, "samples.npz");
        SampleArchive.Write(path, 3, 2, 5, (i, bytes) => bytes.Fill((byte)(i + 1)));
        using ZipArchive archive = ZipFile.OpenRead(path);
        ZipArchiveEntry entry = Assert.Single(archive.Entries);
        Assert.Equal("arr_0.npy", entry.Name);
        using var memory = new MemoryStream();
        using (Stream stream = entry.Open())
        {
            stream.CopyTo(memory);
        }

        byte[] bytes = memory.ToArray();
        Assert.Equal([0x93, .. "NUMPY"u8, 1, 0], bytes[..8]);
        int header = 10 + bytes[8] + 256 * bytes[9];
        Assert.Equal(0, header % 64);
        string text = Encoding.ASCII.GetString(bytes[10..header]);
        Assert.StartsWith("{'descr': '|u1', 'fortran_order': False, 'shape': (3, 2, 5, 3), }", text, StringComparison.Ordinal);
        Assert.EndsWith("\n", text, StringComparison.Ordinal);
        Assert.Equal([.. Enumerable.Repeat((byte)1, 30), .. Enumerable.Repeat((byte)2, 30), .. Enumerable.Repeat((byte)3, 30)], bytes[header..]);
    }

    [Fact]
    public void A_failure_leaves_nothing_behind()
    {
        string path = Path.Combine(_folder, "samples.npz");
        Assert.Throws<InvalidDataException>(() => SampleArchive.Write(path, 3, 2, 5, (i, _) =>
        {
            if (i == 2)
            {
                throw new InvalidDataException();
            }
        }));
        Assert.Empty(Directory.GetFiles(_folder));
    }
}
