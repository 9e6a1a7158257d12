using System.Globalization;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics.X86;
using System.Text.Json;
using System.Text.Json.Serialization;
using Subquartic.Criteria;
using Subquartic.Files;
using Subquartic.Generation;
using Subquartic.Numerics.Kernels;
using Subquartic.Numerics.Tensors;

namespace Subquartic.Attention;

/// <summary>What merging keys and computing with integers cost, in multiply-adds of exact attention on the same machine: by these, <see cref="CertifiedAttention"/> and
/// <see cref="AuditedAttention"/> decide which way a head goes and how far it is merged.</summary>
/// <remarks>They decide speed, and with it which way a row goes and so its bits; bounds hold whatever they are. The defaults are the same on every machine: estimates between
/// those measured on two of them. With costs measured for one machine (<see cref="ForThisMachine"/>) results are the same from run to run on that machine only, as long as they are kept.</remarks>
public sealed record CertifiedCosts
{
    private const int FileVersion = 2, Side = 64, Width = 64;

    /// <summary>Of an entry of a list, per query and column, over that of a key in exact attention.</summary>
    public double List { get; init; } = 1.1;

    /// <summary>Of the list of a tile, per key and column of keys and values, whatever its length.</summary>
    public double Tile { get; init; } = 20;

    /// <summary>Of writing an entry of a list, per column of keys and values.</summary>
    public double Entry { get; init; } = 40;

    /// <summary>Of summaries of the keys of a head, per key and column of keys and values.</summary>
    public double Head { get; init; } = 130;

    /// <summary>Of attention from 16-bit integers (<see cref="KernelSet.QuantizedAttention"/>), rounding to them included.</summary>
    public double Quantized { get; init; } = 0.7;

    /// <summary>The defaults, but for integers, which are left out: they save time, and no multiply-adds where these are counted.</summary>
    internal static CertifiedCosts WithoutIntegers { get; } = new() { Quantized = 1 };

    /// <summary>Measures them on this machine, on one thread: two or three seconds.</summary>
    /// <param name="kernels">The kernels whose costs are asked for.</param>
    /// <returns>The costs, each within the limits that <see cref="Read"/> accepts.</returns>
    public static CertifiedCosts Measure(KernelSet kernels)
    {
        ArgumentNullException.ThrowIfNull(kernels);
        KernelSet alone = KernelSet.Create(kernels.Name, 1);
        try
        {
            ScaleSchedule maps = TokenFieldSampler.Schedule(Side);
            int queries = Side * Side, keys = maps.Tokens;
            using var memory = new FloatBuffer(((2L * queries) + (2L * keys)) * Width);
            Matrix q = memory.Matrix(queries, Width), k = memory.Matrix(keys, Width, (long)queries * Width);
            Matrix v = memory.Matrix(keys, Width, (long)(queries + keys) * Width), output = memory.Matrix(queries, Width, (queries + (2L * keys)) * Width);
            TokenFieldSampler.Draw(new TokenField(TokenFieldKind.PowerLaw, 2, 4), maps, Width, 1, q, k, v);
            var head = new HeadMeasure(alone);
            head.Begin(q, k, v, 1);
            var outcomes = new RowOutcomes();
            outcomes.Begin(output);

            // One list for each tile, whatever it costs.
            var plan = new CertifiedPlan
            {
                LeafErrorLimit = double.PositiveInfinity,
                HeadWorthIt = double.PositiveInfinity,
                WorthIt = double.PositiveInfinity,
                FewRows = int.MaxValue,
                TileSize = 96,
            };
            using var path = new MergePath(alone, plan);
            CertifiedCosts found = path.Measure(head, maps, outcomes, TimeSpan.FromSeconds(0.5));
            using var integers = new QuantizedPath(alone);
            head.Begin(q.SliceRows(0, queries / 2), k, v, 1);
            double quantized = integers.Measure(head, output.SliceRows(0, queries / 2), TimeSpan.FromSeconds(0.3));
            return new CertifiedCosts
            {
                List = Limits.List.Clamp(found.List),
                Tile = Limits.Tile.Clamp(found.Tile),
                Entry = Limits.Entry.Clamp(found.Entry),
                Head = Limits.Head.Clamp(found.Head),
                Quantized = Limits.Quantized.Clamp(quantized),
            };
        }
        finally
        {
            alone.Pool.Dispose();
        }
    }

    /// <summary>Where the costs of this machine are kept, in the user's folder for data of programs; null where there is none.</summary>
    /// <param name="kernels">The kernels they are for.</param>
    /// <returns>The file.</returns>
    public static string? DefaultPath(KernelSet kernels)
    {
        ArgumentNullException.ThrowIfNull(kernels);
        string folder = Environment.GetFolderPath(Environment.SpecialFolder.LocalApplicationData, Environment.SpecialFolderOption.DoNotVerify);
        return folder.Length == 0 ? null : Path.Combine(folder, "subquartic", $"certified-costs-{kernels.Name}.json");
    }

    /// <summary>The costs kept for this machine; measured and kept when there are none yet, or none that can be used.</summary>
    /// <param name="kernels">The kernels they are for.</param>
    /// <param name="path">The file, as <see cref="DefaultPath"/>; null measures without keeping.</param>
    /// <param name="say">Gets a line about what was measured and why.</param>
    /// <returns>The costs.</returns>
    public static CertifiedCosts ForThisMachine(KernelSet kernels, string? path, Action<string> say)
    {
        ArgumentNullException.ThrowIfNull(say);
        string why = "for the first time";
        if (path is not null && File.Exists(path))
        {
            try
            {
                return Read(path, kernels);
            }
            catch (Exception error) when (error is InvalidDataException or IOException or UnauthorizedAccessException)
            {
                why = $"anew ({error.Message})";
            }
        }

        CertifiedCosts costs = Measure(kernels);
        try
        {
            if (path is not null)
            {
                costs.Write(path, kernels);
            }

            say($"Costs of certified attention measured {why}, {(path is null ? "not kept" : $"kept in {path}")}: {costs.Describe()}");
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            say($"Costs of certified attention measured {why}, but not kept ({error.Message}), so that the next run may draw other pictures: {costs.Describe()}");
        }

        return costs;
    }

    /// <summary>Reads costs.</summary>
    /// <param name="path">The file.</param>
    /// <param name="kernels">The kernels they must be for.</param>
    /// <returns>The costs.</returns>
    /// <exception cref="InvalidDataException">It is no file of costs, a number is beyond what any machine is thought to need, or they were measured on another machine or for other kernels;
    /// the message says which.</exception>
    /// <exception cref="IOException">It cannot be read.</exception>
    public static CertifiedCosts Read(string path, KernelSet kernels)
    {
        ArgumentNullException.ThrowIfNull(kernels);
        CertifiedCostsFile? file;
        try
        {
            file = JsonSerializer.Deserialize(File.ReadAllBytes(path), CertifiedCostsJson.Default.CertifiedCostsFile);
        }
        catch (JsonException error)
        {
            throw new InvalidDataException($"{path}: {error.Message}", error);
        }

        if (file is not { Version: FileVersion })
        {
            throw new InvalidDataException($"{path}: not version {FileVersion} of a file of costs");
        }

        if (file.Kernels != kernels.Name || file.Processor != Processor)
        {
            throw new InvalidDataException($"{path}: measured with {file.Kernels} on {file.Processor}, not with {kernels.Name} on {Processor}");
        }

        return new CertifiedCosts
        {
            List = Limits.List.Check(file.List, path, "list"),
            Tile = Limits.Tile.Check(file.Tile, path, "tile"),
            Entry = Limits.Entry.Check(file.Entry, path, "entry"),
            Head = Limits.Head.Check(file.Head, path, "head"),
            Quantized = Limits.Quantized.Check(file.Quantized, path, "quantized"),
        };
    }

    /// <summary>Writes them, for <see cref="Read"/>; its folder is created.</summary>
    /// <param name="path">The file; it is replaced when complete.</param>
    /// <param name="kernels">The kernels they were measured with, on this machine.</param>
    /// <exception cref="IOException">It cannot be written.</exception>
    /// <exception cref="UnauthorizedAccessException">It may not be written.</exception>
    public void Write(string path, KernelSet kernels)
    {
        ArgumentNullException.ThrowIfNull(kernels);
        Directory.CreateDirectory(Path.GetDirectoryName(Path.GetFullPath(path))!);
        var file = new CertifiedCostsFile(FileVersion, kernels.Name, Processor, List, Tile, Entry, Head, Quantized);
        AtomicFile.WriteText(path, JsonSerializer.Serialize(file, CertifiedCostsJson.Default.CertifiedCostsFile));
    }

    /// <summary>The costs in a line.</summary>
    /// <returns>The line.</returns>
    public string Describe() => string.Create(CultureInfo.InvariantCulture, $"list {List:0.00}, tile {Tile:0.0}, entry {Entry:0}, head {Head:0}, quantized {Quantized:0.00}");

    /// <summary>The processor by its name, or at least its kind.</summary>
    private static string Processor
    {
        get
        {
            if (!X86Base.IsSupported || (uint)X86Base.CpuId(unchecked((int)0x80000000), 0).Eax < 0x80000004)
            {
                return RuntimeInformation.ProcessArchitecture.ToString();
            }

            Span<int> name = stackalloc int[12];
            for (int i = 0; i < 3; i++)
            {
                (name[4 * i], name[(4 * i) + 1], name[(4 * i) + 2], name[(4 * i) + 3]) = X86Base.CpuId(unchecked((int)0x80000002) + i, 0);
            }

            return System.Text.Encoding.ASCII.GetString(MemoryMarshal.AsBytes(name)).Trim('\0', ' ');
        }
    }

    /// <summary>What no machine is thought to be beyond, an order of magnitude around what was measured.</summary>
    private readonly record struct Limits(double Least, double Most)
    {
        public static Limits List => new(0.5, 10);

        public static Limits Tile => new(1, 400);

        public static Limits Entry => new(1, 1000);

        public static Limits Head => new(5, 4000);

        public static Limits Quantized => new(0.1, 20);

        public double Clamp(double value) => double.IsNaN(value) ? Most : Math.Clamp(value, Least, Most);

        public double Check(double value, string path, string name) => value >= Least && value <= Most
            ? value
            : throw new InvalidDataException(string.Create(CultureInfo.InvariantCulture, $"{path}: {name} is {value}, not from {Least} to {Most}"));
    }
}

/// <summary>The file of <see cref="CertifiedCosts"/>; what older versions lack has a default, so that it is the version they are refused for.</summary>
internal sealed record CertifiedCostsFile(int Version, string Kernels, string Processor, double List, double Tile, double Entry, double Head, double Quantized = double.NaN);

/// <summary>How it becomes JSON.</summary>
[JsonSourceGenerationOptions(
    PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase, WriteIndented = true, RespectNullableAnnotations = true, RespectRequiredConstructorParameters = true)]
[JsonSerializable(typeof(CertifiedCostsFile))]
internal sealed partial class CertifiedCostsJson : JsonSerializerContext;
