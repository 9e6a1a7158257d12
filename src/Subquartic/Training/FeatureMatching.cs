using System.Numerics.Tensors;
using Subquartic.Numerics.Tensors;
using Subquartic.Numerics.Threading;
using Subquartic.Training.Operations;

namespace Subquartic.Training;

/// <summary>Feature matching (Salimans et al. 2016, section 3.1) of drawn pictures, which have no picture to be compared with: for each class c, the mean features m_c of
/// drawn pictures are brought to those of real ones, r_c. The loss is w times the mean over the step's drawn pictures of |m_c - r_c|^2, where the features are the pixel means of
/// all levels of trained classifiers (the mean over several of them).</summary>
/// <remarks>A step has about one picture of a class, so both means run over steps: r_c over all real pictures seen, m_c over the latest, since what draws them changes. The gradient
/// is what it would be if every drawn picture moved m_c as much as itself: 2 w (m_c - r_c) / B with respect to its features. Until a class has <see cref="FewestPictures"/> of both kinds, or as many as the window, its loss is 0: the decoder would follow the noise of the means.</remarks>
public sealed class FeatureMatching : IDisposable
{
    /// <summary>How many pictures of a class, drawn and real ones, make a mean.</summary>
    public const int FewestPictures = 60;

    private readonly IReadOnlyList<ClassifierNetwork> _networks;
    private readonly double _weight;
    private readonly int _window;
    private readonly Means _real;
    private readonly Means _drawn;

    /// <summary>Prepares the means.</summary>
    /// <param name="networks">At least one classifier, frozen; they stay the caller's.</param>
    /// <param name="weight">w, above 0.</param>
    /// <param name="classes">C: number of classes of the pictures.</param>
    /// <param name="window">Over how many drawn pictures of a class m_c runs: once there are so many, a new one weighs 1 / window.</param>
    /// <exception cref="ArgumentException">There is no network.</exception>
    public FeatureMatching(IReadOnlyList<ClassifierNetwork> networks, double weight, int classes, int window = 150)
    {
        ArgumentNullException.ThrowIfNull(networks);
        ArgumentOutOfRangeException.ThrowIfZero(networks.Count, nameof(networks));
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(weight);
        ArgumentOutOfRangeException.ThrowIfLessThan(classes, 1);
        ArgumentOutOfRangeException.ThrowIfLessThan(window, 1);
        _networks = networks;
        _weight = weight;
        _window = window;
        Fewest = Math.Min(window, FewestPictures);
        _real = new Means(classes, networks.Count * ClassifierNetwork.LevelChannels);
        _drawn = new Means(classes, networks.Count * ClassifierNetwork.LevelChannels);
    }

    /// <summary>Identifies networks, weight and window.</summary>
    internal string Description => $"{string.Join(' ', _networks.Select(network => network.Identity))} {_weight} {_window}";

    /// <summary><see cref="FewestPictures"/>, or the window where that is less.</summary>
    internal int Fewest { get; }

    /// <summary>The means: part of the state of a training.</summary>
    internal IEnumerable<(string Name, FloatBuffer Values)> State => [("matching.real", _real.Values), ("matching.drawn", _drawn.Values)];

    /// <summary>Takes the pictures into the means and computes the loss; its gradient reaches <paramref name="drawn"/> when the tape runs backward.</summary>
    /// <param name="tape">The tape.</param>
    /// <param name="real">(B, H, W, 3), real pictures.</param>
    /// <param name="realLabels">Their classes.</param>
    /// <param name="drawn">(B', H, W, 3), drawn ones.</param>
    /// <param name="drawnLabels">Their classes.</param>
    /// <returns>The loss, w included.</returns>
    public double Add(Tape tape, Variable real, ReadOnlySpan<int> realLabels, Variable drawn, ReadOnlySpan<int> drawnLabels)
    {
        ArgumentNullException.ThrowIfNull(real);
        ArgumentNullException.ThrowIfNull(drawn);
        Variable[] seen = [.. Levels(tape, real)], features = [.. Levels(tape, drawn)];
        _real.Take(seen, realLabels, long.MaxValue);
        _drawn.Take(features, drawnLabels, _window);
        double loss = 0;
        float scale = (float)(2 * _weight / _networks.Count / drawn.Batch);
        using Scratch scratch = Scratch.Rent(_real.Width);
        Span<float> difference = scratch.Buffer.Span(0, _real.Width);
        for (int b = 0; b < drawn.Batch; b++)
        {
            int c = drawnLabels[b];
            if (_real.Count(c) < Fewest || _drawn.Count(c) < Fewest)
            {
                difference.Clear();
            }
            else
            {
                TensorPrimitives.Subtract(_drawn.Of(c), _real.Of(c), difference);
            }

            loss += TensorPrimitives.SumOfSquares<float>(difference);
            TensorPrimitives.Multiply(difference, scale, difference);
            int first = 0;
            foreach (Variable level in features)
            {
                Span<float> gradient = level.Gradient.Row(b);
                difference.Slice(first, gradient.Length).CopyTo(gradient);
                first += gradient.Length;
            }
        }

        return loss * scale / 2;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _real.Dispose();
        _drawn.Dispose();
    }

    private IEnumerable<Variable> Levels(Tape tape, Variable pictures) =>
        _networks.SelectMany(network => network.Forward(tape, pictures).Levels.Select(tape.MeanPool));

    /// <summary>For each class a running mean and, behind it, of how many pictures.</summary>
    private sealed class Means(int classes, int width) : IDisposable
    {
        public int Width => width;

        public FloatBuffer Values { get; } = new((long)classes * (width + 1));

        public float Count(int c) => Row(c)[width];

        public ReadOnlySpan<float> Of(int c) => Row(c)[..width];

        public void Take(Variable[] features, ReadOnlySpan<int> labels, long window)
        {
            for (int b = 0; b < labels.Length; b++)
            {
                Span<float> row = Row(labels[b]);
                float count = ++row[width];
                int first = 0;
                foreach (Variable level in features)
                {
                    ReadOnlySpan<float> picture = level.Value.Row(b);
                    Span<float> mean = row.Slice(first, picture.Length);
                    TensorPrimitives.Lerp(mean, picture, 1 / Math.Min(count, window), mean);
                    first += picture.Length;
                }
            }
        }

        public void Dispose() => Values.Dispose();

        private Span<float> Row(int c) => Values.Span((long)c * (width + 1), width + 1);
    }
}
