using System.Numerics.Tensors;
using Subquartic.Checkpoints;

namespace Subquartic.Adapters;

/// <summary>An adapter and how strongly it counts: W + weight scale B A. A weight of -1 takes back what was merged with 1.</summary>
/// <param name="Adapter">The adapter.</param>
/// <param name="Weight">Factor on its changes; its new classes do not depend on it.</param>
public readonly record struct WeightedAdapter(LoraAdapter Adapter, double Weight);

/// <summary>A checkpoint as it would be after merging adapters: their changes are added while its tensors are read, in double precision and rounded once. What loads it draws
/// as fast as without adapters, and nothing on disk changes.</summary>
public sealed class AdaptedCheckpoint : Checkpoint
{
    // Class embeddings that differ by more than float16 rounding belong to different models.
    private const float SameRow = 2e-3f;

    private readonly Checkpoint _inner;
    private readonly string _prefix;
    private readonly IReadOnlyList<WeightedAdapter> _adapters;
    private readonly Dictionary<string, TensorInfo> _tensors;
    private readonly float[]? _classes;

    /// <summary>Lays adapters over a transformer.</summary>
    /// <param name="model">The transformer's state dict; its file is disposed with this one.</param>
    /// <param name="adapters">The adapters, in the order in which their new classes follow each other.</param>
    /// <param name="undo">Whether the adapters were merged into the model before and are to be taken out of it.</param>
    /// <exception cref="CheckpointException">An adapter names a layer the model does not have, its shapes differ, or it was trained for other classes.</exception>
    public AdaptedCheckpoint(CheckpointView model, IReadOnlyList<WeightedAdapter> adapters, bool undo = false)
        : base((model.Checkpoint ?? throw new ArgumentNullException(nameof(model))).Path)
    {
        ArgumentNullException.ThrowIfNull(adapters);
        _inner = model.Checkpoint;
        _prefix = model.Prefix;
        _adapters = undo ? [.. adapters.Select(adapter => adapter with { Weight = -adapter.Weight })] : adapters;
        _tensors = _inner.Tensors.ToDictionary();
        foreach (LoraAdapter adapter in adapters.Select(adapter => adapter.Adapter))
        {
            foreach ((string module, LoraFactors factors) in adapter.Layers)
            {
                if (!_tensors.TryGetValue($"{_prefix}{module}.weight", out TensorInfo? weight))
                {
                    throw new CheckpointException(adapter.Path, module, $"there is no such layer in {Path}");
                }

                if (!weight.Shape.SequenceEqual([factors.Outputs, factors.Inputs]))
                {
                    throw new CheckpointException(
                        adapter.Path, module, $"changes a matrix of ({factors.Outputs}, {factors.Inputs}), in {Path} it is {weight.ShapeText}");
                }
            }
        }

        if (adapters.Any(adapter => adapter.Adapter.Classes is not null))
        {
            string name = $"{_prefix}{LoraAdapter.ClassModule}.weight";
            int rows = model.Size($"{LoraAdapter.ClassModule}.weight", 2, 0), width = model.Size($"{LoraAdapter.ClassModule}.weight", 2, 1);
            float[] stored = new float[rows * width];
            _inner.Read(name, stored);
            _classes = JoinClasses(stored, width, undo);
            _tensors[name] = _tensors[name] with { Shape = [_classes.Length / width, width] };
        }
    }

    /// <inheritdoc/>
    public override IReadOnlyDictionary<string, TensorInfo> Tensors => _tensors;

    /// <inheritdoc/>
    public override void Read(string name, long start, Span<float> destination)
    {
        if (_classes is not null && name == $"{_prefix}{LoraAdapter.ClassModule}.weight")
        {
            _classes.AsSpan((int)start, destination.Length).CopyTo(destination);
            return;
        }

        _inner.Read(name, start, destination);
        if (name.StartsWith(_prefix, StringComparison.Ordinal) && name.EndsWith(".weight", StringComparison.Ordinal))
        {
            AddChanges(name[_prefix.Length..^".weight".Length], start, destination);
        }
    }

    /// <inheritdoc/>
    public override void ReadIntegers(string name, long start, Span<long> destination) => _inner.ReadIntegers(name, start, destination);

    /// <inheritdoc/>
    protected override void Dispose(bool disposing)
    {
        if (disposing)
        {
            _inner.Dispose();
        }
    }

    private void AddChanges(string module, long start, Span<float> destination)
    {
        (LoraFactors Factors, double Scale)[] changes =
        [
            .. from adapter in _adapters
               let factors = adapter.Adapter.Layers.GetValueOrDefault(module)
               where factors is not null
               select (factors, adapter.Weight * factors.Scale),
        ];
        if (changes.Length == 0)
        {
            return;
        }

        int inputs = changes[0].Factors.Inputs;
        double[] sum = new double[inputs];
        double[] row = new double[inputs];
        for (int done = 0; done < destination.Length;)
        {
            (long output, long column) = Math.DivRem(start + done, inputs);
            int count = (int)Math.Min(inputs - column, destination.Length - done);
            Span<float> target = destination.Slice(done, count);
            TensorPrimitives.ConvertChecked<float, double>(target, sum);
            foreach ((LoraFactors factors, double scale) in changes)
            {
                for (int r = 0; r < factors.Rank; r++)
                {
                    TensorPrimitives.ConvertChecked<float, double>(factors.A.AsSpan((r * inputs) + (int)column, count), row);
                    TensorPrimitives.MultiplyAdd(row.AsSpan(0, count), scale * factors.B[(output * factors.Rank) + r], sum.AsSpan(0, count), sum);
                }
            }

            for (int i = 0; i < count; i++)
            {
                target[i] = (float)sum[i];
            }

            done += count;
        }
    }

    /// <summary>The model's classes, then the new ones of each adapter, then the unconditional one; or, to undo, without them.</summary>
    private float[] JoinClasses(float[] stored, int width, bool undo)
    {
        int rows = stored.Length / width;
        var table = new List<float>(stored[..^width]);
        float[] last = stored[^width..];
        foreach (LoraAdapter adapter in _adapters.Select(adapter => adapter.Adapter).Where(adapter => adapter.Classes is not null))
        {
            float[] own = adapter.Classes!;
            if (own.Length != adapter.ClassRows * width)
            {
                throw Refuse(adapter, $"rows of {own.Length / adapter.ClassRows} channels, the model's have {width}");
            }

            if (undo)
            {
                int added = adapter.ClassNames.Count;
                int first = adapter.ClassRows - 1 - added;
                if (added == 0 || table.Count != (first + added) * width || !Same(own, stored))
                {
                    throw Refuse(adapter, added == 0 ? "which classes it added is not stated beside it" : $"its classes are not the last of the model's {rows - 1}");
                }

                table.RemoveRange(first * width, added * width);
                continue;
            }

            int known = rows - 1, fresh = adapter.ClassRows - rows;
            if (fresh < 0)
            {
                throw Refuse(adapter, $"{adapter.ClassRows} rows, the model has {rows}");
            }

            if (!Same(own.AsSpan(0, known * width), stored.AsSpan(0, known * width)) || !Same(own.AsSpan(own.Length - width), last))
            {
                throw Refuse(adapter, "the rows of the known classes are not the model's; the adapter was trained for another model");
            }

            table.AddRange(own[(known * width)..^width]);
        }

        table.AddRange(last);
        return [.. table];
    }

    private static bool Same(ReadOnlySpan<float> a, ReadOnlySpan<float> b)
    {
        float largest = Math.Abs(TensorPrimitives.MaxMagnitude(b));
        for (int i = 0; i < a.Length; i++)
        {
            if (Math.Abs(a[i] - b[i]) > SameRow * largest)
            {
                return false;
            }
        }

        return a.Length == b.Length;
    }

    private CheckpointException Refuse(LoraAdapter adapter, string reason) =>
        new(adapter.Path, $"{LoraAdapter.Prefix}{LoraAdapter.ClassModule}.weight", $"{reason} ({Path})");
}
